//! What plugin and agent say to each other: JSON over HTTP on the socket of the run directory.

use std::collections::BTreeSet;

use agent_pods::sandboxes::Sandbox;
use serde::{Deserialize, Serialize};

/// `POST /add` and `POST /check`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Question {
    /// The sandbox that the runtime has made.
    pub(crate) sandbox: Sandbox,
    /// How long the agent may take to be sure.
    pub(crate) patience_ms: u64,
}

/// How a pod is admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub(crate) enum Admission {
    /// The live tables judge the pod.
    Judged,
    /// It is not enrolled.
    NotEnrolled {
        /// Which label, annotation or field says so.
        why: String,
    },
}

/// `POST /del`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Goodbye {
    /// The sandbox that goes.
    pub(crate) id: String,
}

/// `POST /gc`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alive {
    /// The sandboxes that are still there.
    pub(crate) ids: BTreeSet<String>,
}
