//! The words in which an agent describes itself: made by the agent, sent over its socket, printed
//! by `sekisho status`. Plain data, with no way back into the agent.

mod identity;
mod note;
mod pod;

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use agent_source::cluster::FollowState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    identity::{Certificate, Identity, spoken},
    note::Note,
    pod::{Canary, Coverage, Enrolment, Link, Pod, Proof, default_action},
};

/// A name from a fixed list, or one that another version of the program sent.
pub(crate) type Text = Cow<'static, str>;

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "users read it in JSON, where it is a name like any")]
pub(crate) struct Status {
    /// `--node-name`.
    pub(crate) node: String,
    /// The program's version.
    pub(crate) version: String,
    /// Whether it does its job.
    pub(crate) state: State,
    /// When the process started.
    pub(crate) started: Timestamp,
    /// The generation in force; 0 before the first one.
    pub(crate) generation: u64,
    /// Since when, if this process published it.
    pub(crate) generation_since: Option<Timestamp>,
    /// Rules of all policies, each counted once however many pods share it.
    pub(crate) rules: u64,
    /// Prefixes in the kernel's table.
    pub(crate) prefixes: u64,
    /// What happens to unknown pods.
    pub(crate) unknown_pods: UnknownPods,
    /// What happens to open connections whose rule goes.
    pub(crate) on_revoke: OnRevoke,
    /// How layer 3 is attached to pods' links: `tcx` or `clsact`.
    #[serde(default)]
    pub(crate) layer3: Text,
    /// Why, where it is not by itself tcx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layer3_why: Option<Text>,
    /// The hooks of the node.
    pub(crate) hooks: Vec<Hook>,
    /// The pods of this node, by namespace and name.
    pub(crate) pods: Vec<Pod>,
    /// Named counts since the maps were made ([`agent_abi::counter::NAMES`]).
    pub(crate) counters: BTreeMap<String, u64>,
    /// Objects read, by kind.
    pub(crate) objects: BTreeMap<String, u64>,
    /// What could not be honoured, worst first.
    pub(crate) findings: Vec<Note>,
    /// What names resolve to, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<Resolved>,
    /// The CNI plugin in the node's directories; none unless the agent was told of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cni: Option<Cni>,
    /// The certificates of this node's pods; none without a CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<Identity>,
    /// What others took away, and was put back.
    #[serde(default)]
    pub(crate) mended: Mended,
    /// How often more was said of links than could be heard. They were looked at instead.
    #[serde(default)]
    pub(crate) link_overruns: u64,
    /// The API server that is followed; none on a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
    /// Who tells the authors of objects what becomes of them; none without a status writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_writer: Option<StatusWriter>,
}

/// `--unknown-pods`, as it is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnknownPods {
    /// Refused for now.
    Hold,
    /// Not judged.
    #[default]
    Allow,
}

/// `--on-revoke`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnRevoke {
    /// They are reset.
    #[default]
    Reset,
    /// They stay open.
    Keep,
}

/// The agent of the cluster that writes Events and conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusWriter {
    /// Whether it is this one.
    pub(crate) leader: bool,
    /// The node of the one that it is, where that is known.
    pub(crate) holder: Option<String>,
    /// Where the agents' Leases are.
    pub(crate) namespace: String,
    /// How many nodes it counts.
    pub(crate) nodes: u64,
    /// How many statuses this agent has written since it started.
    pub(crate) conditions: u64,
    /// How many Events.
    pub(crate) events: u64,
    /// What this agent cannot write, and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
}

/// A name that rules follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolved {
    /// The name.
    pub(crate) name: String,
    /// What is allowed of it.
    pub(crate) addresses: Vec<ResolvedAddress>,
    /// When an answer with an address came last.
    pub(crate) answered: Option<Timestamp>,
    /// When it is asked for next; none while it is being asked for.
    pub(crate) next: Option<Timestamp>,
    /// What was wrong with the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The objects whose rules follow from it.
    #[serde(default)]
    pub(crate) wanted_by: Vec<String>,
}

/// An address of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolvedAddress {
    /// The address.
    pub(crate) address: IpAddr,
    /// When new connections may no longer go there, where the newest answer lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
}

/// Where the CNI plugin is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cni {
    /// The configuration that it is in.
    pub(crate) file: Option<String>,
    /// Why it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// An API server, and how far it is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Its address.
    pub(crate) server: String,
    /// When the objects in force were saved, while they come from the disk and not from the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) saved: Option<Timestamp>,
    /// A line a kind.
    pub(crate) kinds: Vec<Followed>,
}

/// The names of [`FollowState`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FollowState", rename_all = "kebab-case")]
enum FollowStateName {
    Listing,
    Current,
    Behind,
    NotInstalled,
}

/// How far a kind is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Followed {
    /// The resource, as `kubectl` and an RBAC rule name it.
    pub(crate) resource: String,
    /// How far.
    #[serde(with = "FollowStateName")]
    pub(crate) state: FollowState,
    /// When the server last said something about it, if only that nothing changed.
    pub(crate) synced: Option<Timestamp>,
    /// What keeps it from being current, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// Whether the agent does its job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum State {
    /// No generation of this process is in force yet. What an earlier one pinned judges meanwhile.
    #[default]
    Starting,
    /// The newest configuration is in force.
    Ready,
    /// An older generation is in force than the configuration asks for, or a hook is missing.
    Degraded {
        /// What is wrong.
        why: String,
    },
}

/// A program in the kernel, and where it is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the field says which hook; users read it in JSON")]
pub(crate) struct Hook {
    /// 1 socket calls, 2 packets that leave a socket, 3 frames on the host's end of a pod's link.
    pub(crate) layer: u8,
    /// The hook, for instance `connect4` or `tcx_ingress`.
    pub(crate) hook: String,
    /// The cgroup, or the link's name.
    pub(crate) place: String,
    /// Whether the kernel says that it is attached, asked when the status was made.
    pub(crate) attached: bool,
    /// What its absence costs, or what stands in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Hooks that another program took away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mended {
    /// How often one was put back since the agent started.
    pub(crate) count: u64,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Mend>,
}

/// A hook that was put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mend {
    /// The hook, or `layer 3`.
    pub(crate) hook: String,
    /// The cgroup, or the link's name.
    pub(crate) place: String,
    /// When.
    pub(crate) at: Timestamp,
}
