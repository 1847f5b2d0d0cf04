//! What concerns the CNI plugin: where the agent installs it, and what its entry says.

use std::{path::PathBuf, time::Duration};

use crate::cni::install::Directories;

/// What `sekisho cni --help` says.
pub(super) const HELP: &str = "\
A container runtime starts it with CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS and
a configuration on the standard input (CNI specification 1.1.0; lists of 0.3.0 and later). Fields:
  socket             the agent's socket, <run-dir>/cni.sock
  deadlineSeconds    how long the agent may take to judge the pod (default 5)
  excludeNamespaces  pods of these are passed without asking the agent
A pod that cannot be judged in time is refused with code 11, and the kubelet tries again.";

/// Both or neither.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Node {
    /// The node's directory of CNI configurations: the plugin has an entry in the first one there
    #[arg(long, value_name = "DIR", requires = "cni_bin_dir")]
    cni_conf_dir: Option<PathBuf>,
    /// The node's directory of CNI programs: this program is there as sekisho-cni
    #[arg(long, value_name = "DIR", requires = "cni_conf_dir")]
    cni_bin_dir: Option<PathBuf>,
}

impl Node {
    /// The directories, where they are named.
    pub(crate) fn directories(&self) -> Option<Directories> {
        Some(Directories { conf: self.cni_conf_dir.clone()?, bin: self.cni_bin_dir.clone()? })
    }
}

/// Of `sekisho agent`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plugin {
    /// Where it is kept.
    #[command(flatten)]
    pub(crate) node: Node,
    /// How long the start of a pod may wait for the agent, before the kubelet is to try again
    #[arg(
        long = "cni-deadline",
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=60)
    )]
    deadline: u64,
    /// Namespaces whose pods start without waiting for the agent (repeat, or separate by commas)
    #[arg(
        long = "cni-exclude",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        default_value = "kube-system"
    )]
    pub(crate) exclude: Vec<String>,
}

impl Plugin {
    /// How long a pod's start may wait.
    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }
}
