//! What flags let choose among.

use agent_kernel::{load, preflight};
use clap::ValueEnum;

/// What a pod that asks to leave its allowlist gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PodExclusions {
    /// What it asks for
    Honour,
    /// Nothing, and a finding says so
    Ignore,
}

/// What happens to a pod that no rule set knows yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnknownPods {
    /// Refused for now; the application may try again (EAGAIN)
    Hold,
    /// Not judged
    Allow,
}

/// Which connections on ports that have requests or server names go by the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Http {
    /// Those that an object has a say in, and those that only a name may let out
    Needed,
    /// All, as with a sidecar
    Always,
}

/// What is spoken inside the mesh's TLS with agents of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MeshProtocol {
    /// One TLS connection for each connection; HBONE with those that know nothing else
    Direct,
    /// HBONE, as ztunnel speaks it
    Hbone,
}

impl From<MeshProtocol> for agent_proxy::MeshProtocol {
    fn from(chosen: MeshProtocol) -> Self {
        match chosen {
            MeshProtocol::Direct => Self::Direct,
            MeshProtocol::Hbone => Self::Hbone,
        }
    }
}

/// What happens to an open connection when its rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnRevoke {
    /// It is reset
    Reset,
    /// It stays open until its end
    Keep,
}

/// Whom the agent believes about where a pod's network namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PodNamespaces {
    /// The Pod's annotation sekisho.dev/netns: every user who may write the Pod is believed
    Annotation,
    /// The container runtime of this node
    Runtime,
}

/// How layer 3 is attached to the host's end of a pod's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layer3 {
    /// By tcx where the kernel has it (Linux 6.6), else by clsact
    Auto,
    /// By tcx; the agent does not start without it
    Tcx,
    /// By filters of a clsact queueing discipline
    Clsact,
}

/// How much the kernel programs say about their own trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelLog {
    /// Nothing; their counters tell of trouble all the same
    Off,
    /// What cost a verdict or a memory
    Warn,
    /// Everything
    Debug,
}

/// A page of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// Commands and options
    Cli,
    /// What /metrics serves
    Metrics,
    /// What a line of the log may have
    LogFields,
    /// What findings are called
    FindingCodes,
    /// Labels and annotations
    Annotations,
}

/// How a command writes its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned words for people
    #[default]
    Table,
    /// One JSON document; one object a line for flows
    Json,
    /// YAML, one document an answer
    Yaml,
}

/// How destinations are dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SelftestFamily {
    /// By IPv4 sockets
    V4,
    /// By IPv6 sockets
    V6,
    /// By IPv6 sockets that dial `::ffff:a.b.c.d`
    Mapped,
}

impl From<Layer3> for preflight::Layer3 {
    fn from(chosen: Layer3) -> Self {
        match chosen {
            Layer3::Auto => Self::Auto,
            Layer3::Tcx => Self::Tcx,
            Layer3::Clsact => Self::Clsact,
        }
    }
}

impl From<KernelLog> for load::KernelLog {
    fn from(chosen: KernelLog) -> Self {
        match chosen {
            KernelLog::Off => Self::Off,
            KernelLog::Warn => Self::Warn,
            KernelLog::Debug => Self::Debug,
        }
    }
}
