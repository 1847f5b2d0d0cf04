//! What one generation says about this node.

pub mod code;
mod display;

use std::{collections::BTreeMap, fmt, net::IpAddr, num::NonZeroU16, path::PathBuf, sync::Arc};

use ipnet::IpNet;

use crate::{
    egress::{EgressPolicy, RuleSource},
    names::{Answers, Wanted},
    registry::Registry,
    resource::{Kind, ObjectKey, Short},
};

/// A pod by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

/// A pod of this node, and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The UID by which the pod's node knows it, for a static pod another than that of its Pod.
    /// Empty on a directory that gives none.
    pub uid: String,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// The annotation `sekisho.dev/netns`.
    pub netns: Option<PathBuf>,
    /// Whether the pod is judged.
    pub enrolment: Enrolment,
}

impl PodPlan {
    /// Whether the kernel holds the pod.
    pub fn is_pending(&self) -> bool {
        matches!(self.enrolment, Enrolment::Pending(_))
    }
}

/// Whether a pod is in the mesh, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// Judged by a policy.
    Enrolled(Arc<EgressPolicy>),
    /// Not judged, and why.
    NotEnrolled(String),
    /// Neither, until it can be told, and what is missing: the kernel is told nothing about it, and
    /// holds it as it does a pod that nobody has named.
    Pending(String),
}

/// Everything that the kernel and the proxy need to know of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The pods of this node.
    pub pods: BTreeMap<PodId, PodPlan>,
    /// Where the proxy carries what a rule sends to it, by the rule's source. A source that is not
    /// here goes to the address and port that the pod dialled.
    pub upstreams: Arc<BTreeMap<Arc<RuleSource>, Upstream>>,
    /// All that is declared, whoever may see it: what `why` searches.
    pub registry: Arc<Registry>,
    /// The names that have to be resolved for this.
    pub wanted: Wanted,
    /// What names resolved to when this was made.
    pub answers: Arc<Answers>,
    /// What could not be honoured.
    pub findings: Arc<[Finding]>,
}

/// Where the bytes of a proxied connection go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// To the address that the pod dialled, on another port.
    Original {
        /// The port.
        port: NonZeroU16,
    },
    /// To one of these, and never to the address that the pod dialled; to nobody when there is
    /// none.
    Endpoints(Arc<[Endpoint]>),
    /// To what one of these names resolves to: to the address that the pod dialled where it is one
    /// of theirs, else to one of their current addresses; to nobody where there is none.
    Named(Arc<[NamedEndpoint]>),
    /// To what the name in the request resolves to. Names in requests are not read yet: a connection
    /// whose address a rule allows goes to the address that the pod dialled.
    AsRequested {
        /// The port.
        port: NonZeroU16,
    },
}

impl Upstream {
    /// Whether a connection to an address that this leads to keeps its port.
    pub fn keeps(&self, dialled: NonZeroU16) -> bool {
        match self {
            Self::Original { port } | Self::AsRequested { port } => *port == dialled,
            Self::Endpoints(endpoints) => endpoints.iter().all(|one| one.port == dialled),
            Self::Named(names) => names.iter().all(|one| one.port == dialled),
        }
    }

    /// Whether this leads to one address and port and nowhere else.
    pub fn is_just(&self, cidr: IpNet, port: NonZeroU16) -> bool {
        match self {
            Self::Endpoints(endpoints) => matches!(
                endpoints[..],
                [one] if IpNet::from(one.address) == cidr && one.port == port
            ),
            Self::Named(names) => matches!(
                &names[..],
                [one] if one.lingering.is_empty()
                    && one.port == port
                    && matches!(one.current[..], [only] if IpNet::from(only) == cidr)
            ),
            Self::Original { .. } | Self::AsRequested { .. } => false,
        }
    }
}

/// Where a service is reached, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedEndpoint {
    /// The name, in lower case; an IP stands for itself.
    pub host: String,
    /// The port.
    pub port: NonZeroU16,
    /// Its share of the load, at least 1; each of its addresses has it.
    pub weight: u32,
    /// What new connections are sent to.
    pub current: Vec<IpAddr>,
    /// What new connections may go to where the pod dialled it.
    pub lingering: Vec<IpAddr>,
}

/// Where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: NonZeroU16,
    /// Its share of the load, at least 1.
    pub weight: u32,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Honoured in part, or likely not what was meant.
    Warning,
    /// The object is refused; its last good form stays.
    Error,
}

/// Something about one field of one object that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A stable code.
    pub code: &'static str,
    /// The object's kind.
    pub kind: Short,
    /// The object's namespace; empty for cluster scope.
    pub namespace: Short,
    /// The object's name.
    pub name: Short,
    /// The path of the field.
    pub field: Short,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Finding {
    /// A finding about a field of an object.
    pub fn new(
        severity: Severity,
        code: &'static str,
        key: &ObjectKey,
        field: impl Into<Short>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            kind: key.kind.shown().into(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Severity {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl PodId {
    /// The key of its Pod.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(Kind::Pod, &*self.namespace, &*self.name)
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
