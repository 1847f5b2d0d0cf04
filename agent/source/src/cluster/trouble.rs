//! What keeps a kind from being followed: what it means for the next request, and what a person
//! is told.

use std::time::Duration;

use agent_base::error::chain;
use kube::core::Status;

use super::kinds::Watched;

/// Why a request or a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The server cannot be reached, or does not answer as it should.
    #[error("the API server cannot be reached")]
    Request(#[source] Box<kube::Error>),
    /// It answered with a refusal.
    #[error("the API server answers {} {}", status.code, status.message)]
    Refused {
        /// What was asked for.
        verb: &'static str,
        /// The server's words.
        status: Box<Status>,
    },
    /// It ended a watch with a reason.
    #[error("the API server ended the watch: {} {}", status.code, status.message)]
    Broken {
        /// The server's words.
        status: Box<Status>,
    },
    /// An object is not even an object.
    #[error("the API server sent an object that cannot be read")]
    Object(#[source] serde_json::Error),
    /// It does not answer a request.
    #[error("the API server has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// A watch says nothing at all, not even that nothing has changed.
    #[error("the API server said nothing for {} s, where it says every minute that it is there", .0.as_secs())]
    Silence(Duration),
    /// The initial objects did not end: an older server, which does not know of streamed lists.
    #[error("the API server does not stream lists")]
    NoStreaming,
    /// Its state is older than what we have seen: restored from a backup.
    #[error("the API server has gone back to an older state ({now} after {seen})")]
    Older {
        /// The version that was seen.
        seen: u64,
        /// The server's.
        now: u64,
    },
    /// The same, and it has counted on beyond that: told by what it lacks.
    #[error("the API server has gone back to an older state")]
    Replaced,
}

impl Trouble {
    /// Sorts out an error of the client, for a request of this kind.
    pub(super) fn of(verb: &'static str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { verb, status },
            other => Self::Request(Box::new(other)),
        }
    }

    /// The server's own words.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } | Self::Broken { status } => Some(status),
            _ => None,
        }
    }

    fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// Part of following: a server forgets old versions, for one when it is started again, and a
    /// kind may be taken away.
    pub fn is_expected(&self) -> bool {
        matches!(self.code(), Some(404 | 410))
    }

    /// The server does not let this agent ask.
    pub(super) fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// What was seen last is of no use any more: list again.
    pub(super) fn wants_list(&self) -> bool {
        self.code() == Some(410) || matches!(self, Self::Older { .. } | Self::Replaced)
    }

    /// A watch was let in, and said nothing or only why it ends. It may be its version that the
    /// server cannot go on from: etcd, for one, may lack what an event after it needs.
    pub(super) fn is_of_a_watch(&self) -> bool {
        matches!(self, Self::Silence(_) | Self::Broken { .. })
    }

    /// The server refuses the parameters of a streamed list, or does not know them.
    pub(super) fn is_about_streaming(&self) -> bool {
        matches!(self.code(), Some(400 | 422)) || matches!(self, Self::NoStreaming)
    }

    /// What to tell a person.
    pub(super) fn text(&self, watched: &Watched) -> String {
        let text = chain(self);
        match self {
            Self::Refused { verb, status } if status.code == 403 => format!(
                "the API server does not let this agent {verb} {watched} (403: {}); give its \
                 ServiceAccount the verb {verb} on {watched} in the ClusterRole sekisho-agent \
                 (deploy/base/rbac.yaml)",
                status.message
            ),
            Self::Refused { verb, status } if status.code == 401 => format!(
                "the API server does not accept this agent's credentials for {verb} on {watched} \
                 (401: {}); check the ServiceAccount's token or the kubeconfig, and that the \
                 ClusterRole sekisho-agent (deploy/base/rbac.yaml) is bound to it",
                status.message
            ),
            _ => text,
        }
    }
}
