//! From the command line to a client. Nothing is asked of the server here: it may be away.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// How long the server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file that was named cannot be used.
    #[error("cannot use the kubeconfig {}; correct --kubeconfig or KUBECONFIG", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KubeconfigError,
    },
    /// The files are well, but what is asked for is not in them.
    #[error("the kubeconfig does not lead to a server; correct --context or the file")]
    Context(#[source] KubeconfigError),
    /// No file was named, and this is no pod.
    #[error(
        "there is no API server to follow: this is not a pod with a ServiceAccount, and there is \
         no kubeconfig; give --kubeconfig FILE, or --config-dir DIR for a directory of manifests"
    )]
    Nowhere(#[source] kube::config::InferConfigError),
    /// The way to the server is one that is not supported.
    #[error(
        "the kubeconfig leads through the proxy {proxy}, which is not supported; name a server that \
         can be reached without proxy-url"
    )]
    Proxy {
        /// Its address.
        proxy: String,
    },
    /// The credentials or certificates are broken.
    #[error("the credentials for the API server cannot be used")]
    Client(#[source] Box<kube::Error>),
}

/// Which API server is meant, and who asks it. Without either, this pod's.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// One kubeconfig, or several as `KUBECONFIG` may name them.
    pub kubeconfig: Option<String>,
    /// The context of it.
    pub context: Option<String>,
}

/// A client for a few requests, which it tries again by itself, and the server's address for people.
pub async fn connect(credentials: &Credentials) -> Result<(Client, String), ConnectError> {
    let mut config = config(credentials).await?;
    config.connect_timeout = Some(CONNECT);
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|e| ConnectError::Client(Box::new(e)))?;
    Ok((client, server))
}

/// Where the server is, and who asks.
pub(super) async fn config(credentials: &Credentials) -> Result<Config, ConnectError> {
    let Credentials { kubeconfig, context } = credentials;
    let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
    match (kubeconfig.as_deref().filter(|files| !files.is_empty()), context) {
        (Some(files), _) => {
            let merged = read(files)?;
            Config::from_custom_kubeconfig(merged, &options).await.map_err(ConnectError::Context)
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(ConnectError::Context),
        (None, None) => Config::infer().await.map_err(ConnectError::Nowhere),
    }
}

/// Several files, as `KUBECONFIG` may name them.
fn read(files: &str) -> Result<Kubeconfig, ConnectError> {
    let mut merged = Kubeconfig::default();
    for path in files.split(':').filter(|path| !path.is_empty()).map(PathBuf::from) {
        let read = Kubeconfig::read_from(&path).and_then(|next| merged.merge(next));
        merged = read.map_err(|source| ConnectError::Kubeconfig { path, source })?;
    }
    Ok(merged)
}
