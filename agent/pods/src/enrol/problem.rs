//! Why a pod is not enrolled whole, and what is to be thought of it.

use std::path::PathBuf;

use agent_kernel::{links::LinkError, netns::NetNsError, sys::SysError};
use agent_model::pod::PodId;
use thiserror::Error;

use crate::{evidence::NoNamespace, link_watch::WatchError, sockets::SocketError, veth::VethError};

/// Why a pod is not enrolled whole.
#[derive(Debug, Error)]
pub(crate) enum EnrolError {
    /// There is no evidence of where the pod's namespace is.
    #[error(transparent)]
    NoNamespace(#[from] NoNamespace),
    /// It cannot be told yet whether it is to be judged.
    #[error("{0}")]
    Undecided(String),
    /// The namespace is the host's.
    #[error("its network namespace is said to be at {}, which is the agent's own", _0.display())]
    HostNamespace(PathBuf),
    /// Two pods have one namespace.
    #[error("its network namespace is said to be at {}, which is that of Pod {other}", path.display())]
    SharedNamespace {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        other: PodId,
    },
    /// The agent sees another file system than the runtime.
    #[error(
        "{} is another namespace here than the container runtime has made; mount it from the node, \
         with its later mounts (mountPropagation: HostToContainer)", _0.display()
    )]
    OtherNamespace(PathBuf),
    /// The namespace cannot be opened.
    #[error(transparent)]
    Namespace(#[from] NetNsError),
    /// The proxy cannot listen inside it.
    #[error(transparent)]
    Listen(#[from] SocketError),
    /// Its links cannot be found.
    #[error(transparent)]
    Veth(#[from] VethError),
    /// The agent would not hear of other links.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Nothing sees the frames of a link.
    #[error(
        "layer 3 does not see the frames of {0}: take it out of the pod, give the pod a veth to this \
         node instead, or take the pod out of the mesh"
    )]
    Unseen(String),
    /// Layer 3 cannot be attached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A map cannot be written.
    #[error("the map {map} cannot be written")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: SysError,
    },
}

/// What is to be thought of a pod that is not enrolled whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It is being made, and nothing is wrong.
    Pending,
    /// It cannot be enrolled, by its nature.
    Unenrollable,
    /// Something is missing.
    Failing,
}

/// Why a pod is not enrolled whole, as people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is to be thought of it.
    pub kind: ProblemKind,
    /// The whole reason.
    pub why: String,
}

impl EnrolError {
    pub(super) fn kind(&self) -> ProblemKind {
        match self {
            Self::NoNamespace(NoNamespace::NotYet) | Self::Undecided(_) => ProblemKind::Pending,
            Self::NoNamespace(NoNamespace::Sandboxed(_)) => ProblemKind::Unenrollable,
            _ => ProblemKind::Failing,
        }
    }

    pub(super) fn map(map: &'static str) -> impl Fn(SysError) -> Self {
        move |source| Self::Map { map, source }
    }
}
