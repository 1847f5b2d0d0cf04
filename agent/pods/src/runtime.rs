//! What the container runtime of this node knows of its pods: which sandboxes run, whose they are and
//! where their network namespaces are. It made them, so no one can know it better, and no user can write
//! it into an object.
//!
//! ```text
//! runtime's socket ─ cri ─► Follower ─► Heard (watch channel) ─► Evidence ─► Pods
//!                              ▲
//!      files in /run/netns ────┘  and pods that are pending: look often for a while
//! ```
//!
//! The list is asked for every 2 s. After a file came or went in `/run/netns`, or while a Pod without a
//! sandbox is news, it is asked for every 50 ms for 10 s.
//!
//! While the runtime is away, what it said last stays. At a start nothing is published before it has
//! answered: a generation without sandboxes would hold every pod that runs.

mod cri;
mod follow;
mod runtime_only;
mod sandbox;

use std::{path::PathBuf, sync::Arc};

pub use follow::{Follower, Reader};
pub use runtime_only::RuntimeOnly;
pub use sandbox::{Network, Sandbox, of_pod};

/// Where container runtimes listen.
const SOCKETS: [&str; 3] =
    ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/var/run/crio/crio.sock"];

/// What is known of the runtime at one moment.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Those that run; `None` until it has answered once.
    pub sandboxes: Option<Arc<[Sandbox]>>,
    /// Why it does not answer (any more).
    pub away: Option<Arc<str>>,
}

impl Heard {
    /// Takes in an answer, or none; returns whether it is news.
    fn take_in(&mut self, sandboxes: Option<Vec<Sandbox>>, away: Option<Arc<str>>) -> bool {
        let turned = self.away.is_some() != away.is_some();
        self.away = away;
        match sandboxes {
            Some(now) if self.sandboxes.as_deref() != Some(&now) => {
                self.sandboxes = Some(now.into());
                true
            }
            _ => turned,
        }
    }
}

/// The first socket that is there, or the first of all: a runtime may start after the agent.
pub fn default_socket() -> PathBuf {
    let sockets = SOCKETS.map(PathBuf::from);
    let there = sockets.iter().find(|socket| socket.exists());
    there.unwrap_or(&sockets[0]).clone()
}

#[cfg(test)]
pub(crate) mod testing {
    //! Sandboxes that no runtime made.

    use agent_model::pod::PodId;

    use super::{Network, Sandbox};

    pub(crate) fn sandbox(pod: &PodId, uid: &str, network: Network) -> Sandbox {
        Sandbox {
            id: format!("sandbox of {uid}"),
            pod: pod.clone(),
            uid: uid.into(),
            age: (0, 1),
            network,
            addresses: vec!["203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            labels: [("app".to_owned(), "web".to_owned())].into(),
            annotations: [].into(),
        }
    }
}
