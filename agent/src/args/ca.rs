//! Who signs the certificates of a node's pods, and what `sekisho ca` is told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::ValueEnum;

use super::{DEFAULT_LOG, credentials::Credentials, times::at_least_one};
use crate::observe::log::LogFormat;

/// Where the CA is in the manifests of `deploy`.
const ADDRESS: &str = "sekisho-ca.sekisho-ca.svc:15012";
const TOKEN: &str = "/var/run/secrets/sekisho-ca/token";
const ROOTS: &str = "/var/run/sekisho-trust/root-cert.pem";

/// Of the agent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CaArgs {
    /// Who signs certificates for this node's pods [default: no one]
    #[arg(long, value_enum, conflicts_with = "ca_dir")]
    pub(crate) ca: Option<Ca>,
    /// Where that CA answers; its certificate has the host's name
    #[arg(long, value_name = "HOST:PORT", default_value = ADDRESS)]
    pub(crate) ca_address: String,
    /// The token that it is shown, of a projected volume with the audience sekisho-ca
    #[arg(long, value_name = "FILE", default_value = TOKEN)]
    pub(crate) ca_token: PathBuf,
    /// The mesh's roots, as the CA publishes them (sekisho-trust)
    #[arg(long, value_name = "FILE", default_value = ROOTS)]
    pub(crate) ca_roots: PathBuf,
    /// Directory of a CA: Istio's ca-cert.pem, ca-key.pem and root-cert.pem, or tls.crt, tls.key and
    /// ca.crt. A root is made where it is not there or empty; agents with one directory are one mesh
    #[arg(long, value_name = "DIR", requires = "config_dir")]
    pub(crate) ca_dir: Option<PathBuf>,
    /// Seconds that a certificate lives; it is renewed at half of them
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = at_least_one)]
    pub(crate) ca_ttl: Duration,
}

/// Which CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ca {
    /// `sekisho ca`
    Own,
}

/// `sekisho ca`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Its key is in the Secret sekisho-ca-key of --namespace, as ca-cert.pem, ca-key.pem, root-cert.pem and
cert-chain.pem, or as tls.crt, tls.key and ca.crt; it makes a root where the Secret
is not there. Its roots are in the ConfigMap sekisho-trust of --trust-namespace.
A certificate is made only for a ServiceAccount that has a pod on the node of the agent that asks.")]
pub(crate) struct ServeCaArgs {
    /// The API server.
    #[command(flatten)]
    pub(crate) credentials: Credentials,
    /// Where agents ask
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:15012")]
    pub(crate) listen: SocketAddr,
    /// The name in the server's own certificate, by which agents ask
    #[arg(long, value_name = "NAME", default_value = "sekisho-ca.sekisho-ca.svc")]
    pub(crate) server_name: String,
    /// Also serve /healthz, /readyz and /metrics on this TCP address
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<SocketAddr>,
    /// The namespace of the key
    #[arg(long, value_name = "NAME", default_value = "sekisho-ca")]
    pub(crate) namespace: String,
    /// The namespace where the roots are published
    #[arg(long, value_name = "NAME", default_value = "sekisho-system")]
    pub(crate) trust_namespace: String,
    /// The mesh's trust domain, as in the mesh's own settings
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// The audience that a token must be for
    #[arg(long, value_name = "NAME", default_value = "sekisho-ca")]
    pub(crate) audience: String,
    /// The accounts that may ask for what has a pod on their node: those of the agents
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        value_delimiter = ',',
        value_parser = account,
        default_value = "sekisho-system/sekisho-agent"
    )]
    pub(crate) trusted_agents: Vec<Account>,
    /// Seconds that a certificate lives at the most
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = at_least_one)]
    pub(crate) ca_ttl: Duration,
    /// What to log: a level, or target=level pairs
    #[arg(long, value_name = "FILTER", env = "SEKISHO_LOG", default_value = DEFAULT_LOG)]
    pub(crate) log: String,
    /// How to write the log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// A `ServiceAccount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// Why it was not understood.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a ServiceAccount is NAMESPACE/NAME, for instance sekisho-system/sekisho-agent")]
pub(crate) struct AccountError;

fn account(text: &str) -> Result<Account, AccountError> {
    let (namespace, name) = text.split_once('/').ok_or(AccountError)?;
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !name.is_empty() && name.bytes().all(|byte| plain(byte) || b"-.".contains(&byte))
    };
    if !is_name(namespace) || !is_name(name) {
        return Err(AccountError);
    }
    Ok(Account { namespace: namespace.to_owned(), name: name.to_owned() })
}
