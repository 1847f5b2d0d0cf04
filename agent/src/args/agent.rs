//! `sekisho agent`: what the node agent is told.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use agent_model::translate::MeshTls;
use agent_proxy::Tracing;

use super::{
    DEFAULT_LOG, DEFAULT_PIN_DIR, DEFAULT_RUN_DIR, DEFAULT_TLS_DIR,
    access_log::AccessLogArgs,
    ca::CaArgs,
    choices::{
        Http, KernelLog, Layer3, MeshProtocol, OnRevoke, PodExclusions, PodNamespaces, UnknownPods,
    },
    cni,
    credentials::Credentials,
    times::{at_least_one, seconds},
};
use crate::observe::{log::LogFormat, service_metrics::SETS};

/// `sekisho agent`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Without --config-dir an API server is followed: the one of --kubeconfig, else the one whose
ServiceAccount this pod has. While it is away, what it said last stays in force; at a start
without it, what was saved in --run-dir is used.
The directory holds the same manifests as a cluster, several documents a file. A Pod carries
status.podIPs, spec.nodeName and the annotation sekisho.dev/netns: /run/netns/NAME.
A refused call fails with EPERM, a held one with EAGAIN; neither hangs.")]
pub(crate) struct AgentArgs {
    /// Directory of YAML manifests, watched for changes (with all its subdirectories)
    #[arg(long, value_name = "DIR", conflicts_with = "context")]
    pub(crate) config_dir: Option<PathBuf>,
    /// The API server to follow.
    #[command(flatten)]
    pub(crate) credentials: Credentials,
    /// Whether the cluster's elected agent says on objects what becomes of them: Events, and
    /// conditions in their status
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(conflicts_with = "config_dir")]
    pub(crate) write_status: bool,
    /// The node whose pods this agent judges: Pods with this spec.nodeName
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub(crate) node_name: String,
    /// Directory for the agent's socket and state; one agent a directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub(crate) run_dir: PathBuf,
    /// Take over from the agent that runs with this --run-dir: it serves what it has through the proxy to
    /// the end, and new connections come here. It stays until it is stopped, and begins again if this one
    /// dies
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Seconds that connections through the proxy have to end after SIGTERM or after another agent has
    /// taken over: answers say that they are the last, streams and connections end by themselves. What is
    /// open then is reset
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) drain_time: Duration,
    /// Directory in a BPF file system where maps and links outlive the agent
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub(crate) pin_dir: PathBuf,
    /// The cgroup v2 directory where hooks attach [default: the root that the agent sees]
    #[arg(long, value_name = "DIR")]
    pub(crate) cgroup: Option<PathBuf>,
    /// How frames on a pod's link are judged; a restart may change it
    #[arg(long, value_enum, default_value_t = Layer3::Auto)]
    pub(crate) layer3: Layer3,
    /// How often each judged pod is proved to be: a canary is sent from inside it, and every hook
    /// must refuse it
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = at_least_one)]
    pub(crate) canary_interval: Duration,
    /// What happens to pods that are not known (yet) [default: hold on an API server, allow on a
    /// directory]
    #[arg(long, value_enum)]
    pub(crate) unknown_pods: Option<UnknownPods>,
    /// Whether a pod's own annotations (traffic.sidecar.istio.io/excludeOutboundPorts and the like) and
    /// its spec.dnsConfig open addresses and ports to it
    #[arg(long, value_enum, default_value = "honour")]
    pub(crate) pod_exclusions: PodExclusions,
    /// Who says where a pod's network namespace is [default: runtime on an API server, annotation on
    /// a directory]
    #[arg(long, value_enum)]
    pub(crate) pod_namespaces: Option<PodNamespaces>,
    /// The container runtime's socket [default: containerd's or CRI-O's, whichever is there]
    #[arg(long, value_name = "PATH")]
    pub(crate) cri_socket: Option<PathBuf>,
    /// Which connections on ports for HTTP, gRPC and TLS go through the proxy; the others stay in the
    /// kernel
    #[arg(long, value_enum, default_value_t = Http::Needed)]
    pub(crate) http: Http,
    /// What happens to an open connection whose destination is no longer allowed
    #[arg(long, value_enum, default_value_t = OnRevoke::Reset)]
    pub(crate) on_revoke: OnRevoke,
    /// The CNI plugin.
    #[command(flatten)]
    pub(crate) cni: cni::Plugin,
    /// Also serve /healthz, /readyz and /metrics on this TCP address
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<SocketAddr>,
    /// How many label sets the metrics of requests have at the most, and those of connections; what is
    /// beyond is counted together, in a series whose labels are `overflow`
    #[arg(long, value_name = "N", default_value_t = SETS)]
    pub(crate) metric_label_sets: usize,
    /// The name server to ask what names resolve to; may be given several times [default: those of
    /// /etc/resolv.conf]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = name_server)]
    pub(crate) dns_server: Vec<SocketAddr>,
    /// Seconds that an answer counts at least, whatever its TTL
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = at_least_one)]
    pub(crate) dns_min_ttl: Duration,
    /// Seconds that an address is still allowed after its name has moved on and its TTL has passed;
    /// connections that are open then stay open
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) dns_grace: Duration,
    /// Seconds that open connections go on after their endpoint, or the address that they dialled, has
    /// left its Service; one that is only not ready has not left
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) endpoint_grace: Duration,
    /// Directory of the files that a rule for a destination may name for TLS (caCertificates, caCrl,
    /// clientCertificate, privateKey): for pods of a namespace those below DIR/NAMESPACE
    #[arg(long, value_name = "DIR", default_value = DEFAULT_TLS_DIR)]
    pub(crate) tls_dir: PathBuf,
    /// Who signs certificates.
    #[command(flatten)]
    pub(crate) ca: CaArgs,
    /// What is spoken inside the mesh's TLS with agents of other nodes
    #[arg(long, value_enum, default_value_t = MeshProtocol::Direct)]
    pub(crate) mesh_protocol: MeshProtocol,
    /// The access log.
    #[command(flatten)]
    pub(crate) access_log: AccessLogArgs,
    /// The OTLP/gRPC port of a collector: requests that the proxy serves are sent there as spans
    #[arg(long, value_name = "http://HOST:PORT")]
    pub(crate) otlp_endpoint: Option<String>,
    /// How many of a hundred requests begin a trace where the client has not decided; with --otlp-endpoint
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = share, requires = "otlp_endpoint")]
    pub(crate) trace_sampling: Tracing,
    /// What to log: a level, or target=level pairs (targets: access, deny, config, sekisho)
    #[arg(long, value_name = "FILTER", env = "SEKISHO_LOG", default_value = DEFAULT_LOG)]
    pub(crate) log: String,
    /// How to write the log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// How much the kernel programs say about their own trouble
    #[arg(long, value_enum, default_value_t = KernelLog::Off)]
    pub(crate) kernel_log: KernelLog,
}

impl AgentArgs {
    /// Whether pods that no rule set knows are held. In a cluster every pod becomes known; on a
    /// directory most of a machine's namespaces never do.
    pub(crate) fn holds_unknown_pods(&self) -> bool {
        match self.unknown_pods {
            Some(chosen) => chosen == UnknownPods::Hold,
            None => self.config_dir.is_none(),
        }
    }

    /// Whether pods speak the mesh's TLS: they do where there is a CA.
    pub(crate) fn mesh_tls(&self) -> MeshTls {
        if self.ca.ca.is_some() || self.ca.ca_dir.is_some() { MeshTls::On } else { MeshTls::Off }
    }

    /// Whom to believe about namespaces: in a cluster every user who may make a pod writes its
    /// annotations.
    pub(crate) fn namespaces_from(&self) -> PodNamespaces {
        self.pod_namespaces.unwrap_or(match self.config_dir {
            Some(_) => PodNamespaces::Annotation,
            None => PodNamespaces::Runtime,
        })
    }
}

/// Why a name server was not understood.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a name server is ADDR or ADDR:PORT, for instance 203.0.113.53 or [2001:db8::53]:5353")]
struct NameServerError;

fn name_server(text: &str) -> Result<SocketAddr, NameServerError> {
    let bare = text.parse::<IpAddr>().map(|addr| SocketAddr::new(addr, 53));
    bare.or_else(|_| text.parse()).map_err(|_| NameServerError)
}

/// Why a percentage was not understood.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("give a percentage from 0 to 100, for instance 0.5")]
struct PercentageError;

fn share(text: &str) -> Result<Tracing, PercentageError> {
    let share = agent_model::pod::share(text).ok_or(PercentageError)?;
    Ok(Tracing { share })
}
