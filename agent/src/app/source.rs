//! Where the agent's objects come from: an API server or a directory.

use std::sync::Arc;

use agent_source::{
    cluster::{Cluster, Progress},
    directory::Directory,
    observed::Reader,
};

use crate::{admin::rundir::RunDir, args::AgentArgs};

/// Where objects come from.
pub(super) enum Source {
    /// `--config-dir`.
    Directory(Box<Directory>),
    /// An API server.
    Cluster(Box<Cluster>),
}

impl Source {
    pub(super) async fn open(args: &AgentArgs, run_dir: &RunDir) -> anyhow::Result<(Self, Reader)> {
        if let Some(path) = &args.config_dir {
            let (directory, reader) = Directory::open(path)?;
            return Ok((Self::Directory(Box::new(directory)), reader));
        }
        let credentials = args.credentials.clone().into();
        let (cluster, reader) =
            Cluster::open(&credentials, (&args.node_name, args.mesh_tls()), run_dir.objects())
                .await?;
        Ok((Self::Cluster(Box::new(cluster)), reader))
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(cluster) => Some(cluster.progress()),
        }
    }

    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Directory(directory) => directory.run().await,
            Self::Cluster(cluster) => cluster.run().await,
        }
        Ok(())
    }
}
