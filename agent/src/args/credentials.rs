//! Which API server, and who asks it.

use agent_source::cluster;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Credentials {
    /// The API server, and the credentials for it [default: those of this pod, else ~/.kube/config]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<String>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

impl From<Credentials> for cluster::Credentials {
    fn from(Credentials { kubeconfig, context }: Credentials) -> Self {
        Self { kubeconfig, context }
    }
}
