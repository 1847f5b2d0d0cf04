//! The command line: what it accepts and what `--help` says. The environment is read here and
//! nowhere else.

mod choices;
pub(crate) mod cni;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::observe::log::LogFormat;

pub(crate) use choices::{
    Format, KernelLog, Layer3, OnRevoke, Page, PodExclusions, PodNamespaces, SelftestFamily,
    UnknownPods,
};
use clap::{Parser, Subcommand};

use crate::admin::question::{PodRef, Target};

/// Where an agent keeps its socket and state when nothing else is said.
pub(crate) const DEFAULT_RUN_DIR: &str = "/run/sekisho";
/// What is logged. The client of the API server warns of each connection that a server's restart
/// ends; what it means for a kind is said once, under `config`.
pub(crate) const DEFAULT_LOG: &str = "info,kube_client=off";
/// Where the kernel keeps the maps and links.
pub(crate) const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/sekisho";

/// What the process tells its caller. Documented in [`EXIT_CODES`].
pub(crate) mod exit {
    /// Done.
    pub(crate) const OK: u8 = 0;
    /// Something failed; the message says what to do.
    pub(crate) const FAILURE: u8 = 1;
    /// The command line was not understood (clap's own code).
    #[cfg(test)]
    pub(crate) const USAGE: u8 = 2;
    /// `why`: the destination is denied or held.
    pub(crate) const DENIED: u8 = 3;
    /// `analyze`: an object is refused.
    pub(crate) const REFUSED: u8 = 4;
    /// No agent answers at the run directory.
    pub(crate) const NO_AGENT: u8 = 5;
    /// `selftest`: something got out, or was not refused as it should be.
    pub(crate) const LEAK: u8 = 6;
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done; why: the destination is allowed; analyze: no errors (there may be warnings)
  1  failed, the message says what to do; status: the agent answers but is not ready
  2  the command line was not understood
  3  why: the destination is denied, or held until the pod is known
  4  analyze: at least one object is refused
  5  no agent answers at --run-dir
  6  selftest: something got out, or was not refused as it should be";

const EXAMPLES: &str = "\
Examples:
  sekisho agent --kubeconfig admin.conf --node-name node-1
  sekisho agent --config-dir /etc/sekisho --node-name node-1
  sekisho status
  sekisho flows --follow --denied
  sekisho why shop/web-0 203.0.113.7:3306
  sekisho analyze manifests/
  sekisho selftest";

/// The node agent of a service mesh without sidecars: it judges every socket that a pod opens.
#[derive(Clone, Debug, Parser)]
#[command(name = "sekisho", version, arg_required_else_help = true)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent of a node, on an API server or on a directory of manifests
    Agent(Box<AgentArgs>),
    /// Show what the agent enforces: pods, generation, layers, counters, findings
    Status(StatusArgs),
    /// Show recent verdicts and ended connections
    Flows(FlowsArgs),
    /// Say why a pod may or may not reach a destination, and what would allow it
    Why(WhyArgs),
    /// Show what requests of a pod are held against: listeners, routes, clusters, endpoints
    Config(ConfigArgs),
    /// Check manifests, or what a cluster has, without an agent
    Analyze(AnalyzeArgs),
    /// Install the definitions of custom resources that a cluster lacks
    Crds(CrdsArgs),
    /// Detach everything from the kernel: nothing is judged any more
    Uninstall(UninstallArgs),
    /// Try every way out of a pod on this machine's kernel, in namespaces of its own
    Selftest(SelftestArgs),
    /// Print a page of docs/reference, in Markdown
    #[command(hide = true)]
    Reference(ReferenceArgs),
    /// What `selftest` runs inside its pods
    #[command(hide = true, name = "selftest-probe")]
    SelftestProbe {
        /// What the probe is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Answer a container runtime, as a chained CNI plugin (also under the name sekisho-cni)
    #[command(after_help = cni::HELP)]
    Cni,
}

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
    /// Directory of YAML manifests, watched for changes (one level of subdirectories is read too)
    #[arg(long, value_name = "DIR")]
    pub(crate) config_dir: Option<PathBuf>,
    /// The API server to follow, and the credentials for it [default: those of this pod,
    /// else ~/.kube/config]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<String>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", conflicts_with = "config_dir")]
    pub(crate) context: Option<String>,
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
    /// What happens to an open connection whose destination is no longer allowed
    #[arg(long, value_enum, default_value_t = OnRevoke::Reset)]
    pub(crate) on_revoke: OnRevoke,
    /// The CNI plugin.
    #[command(flatten)]
    pub(crate) cni: cni::Plugin,
    /// Also serve /healthz, /readyz and /metrics on this TCP address
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<SocketAddr>,
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

    /// Whom to believe about namespaces: in a cluster whoever may make a pod writes its
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

fn at_least_one(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(|seconds: std::num::NonZeroU32| Duration::from_secs(seconds.get().into()))
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(|seconds: u32| Duration::from_secs(seconds.into()))
}

/// Which agent to ask, and how to answer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ask {
    /// The run directory of the agent to ask
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub(crate) run_dir: PathBuf,
    /// How to write the answer
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `-o`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Output {
    /// How to write the answer
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) format: Format,
}

/// `sekisho status`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 ready, 1 not ready, 5 no agent answers at --run-dir")]
pub(crate) struct StatusArgs {
    /// Which agent, and how to answer.
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// `sekisho flows`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example: sekisho flows --follow --denied -o json
Exit codes: 0 done, 5 no agent answers at --run-dir")]
pub(crate) struct FlowsArgs {
    /// Which agent, and how to answer.
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// Keep showing flows as they happen
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only what was denied or held, or would be (audit)
    #[arg(long)]
    pub(crate) denied: bool,
}

/// `sekisho why`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sekisho why shop/web-0 203.0.113.7:3306
  sekisho why web-0 '[2001:db8::7]:53/udp'
  sekisho why web-0 db.example.com:3306
  sekisho why web-0 reviews:9080 --path /reviews/0 --header end-user:jason
Exit codes: 0 allowed, 3 denied or held (of a name: any address), 1 no such pod or name, 5 no agent answers at --run-dir")]
pub(crate) struct WhyArgs {
    /// The pod, as NAMESPACE/NAME, or NAME where only one pod has it
    pub(crate) pod: PodRef,
    /// ADDRESS:PORT, IPv6 in brackets, or NAME:PORT for each address that the name stands for;
    /// /udp for UDP (default /tcp)
    #[arg(value_name = "DEST:PORT[/udp]")]
    pub(crate) destination: Target,
    /// Also say which route a request with this path (and query) would take
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// A header of that request, may be repeated; host:NAME takes the place of the name dialled
    #[arg(long = "header", value_name = "NAME:VALUE", requires = "path", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// The method of that request
    #[arg(long, value_name = "METHOD", requires = "path", default_value = "GET")]
    pub(crate) method: String,
    /// Which agent, and how to answer.
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// A header as people write it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a header is NAME:VALUE, for instance end-user:jason")]
pub(crate) struct HeaderError;

fn header(text: &str) -> Result<(String, String), HeaderError> {
    let (name, value) = text.split_once(':').ok_or(HeaderError)?;
    let is_token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderError);
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// `sekisho config`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sekisho config routes shop/web-0
  sekisho config clusters web-0 -o yaml    # with everything that is known of each
Requests are not routed yet: this is what would be.
Exit codes: 0 shown, 1 no such pod, 5 no agent answers at --run-dir")]
pub(crate) struct ConfigArgs {
    /// What to show
    pub(crate) view: ConfigView,
    /// The pod, as NAMESPACE/NAME, or NAME where only one pod has it
    pub(crate) pod: PodRef,
    /// Which agent, and how to answer.
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// What `sekisho config` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ConfigView {
    /// What is served by port and address dialled
    Listeners,
    /// Which requests go where, in the order in which they are tried
    Routes,
    /// What routes lead to: a service's port, or a subset of it
    Clusters,
    /// Where each cluster is
    Endpoints,
}

/// `sekisho analyze`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sekisho analyze manifests/ serviceentry.yaml
  kubectl get serviceentries,sidecars -A -o yaml | sekisho analyze -
  sekisho analyze --context staging
  sekisho analyze --context staging serviceentry.yaml   # as it would be with this file applied
Exit codes: 0 no errors (there may be warnings), 4 an object is refused, 1 a file cannot be read")]
pub(crate) struct AnalyzeArgs {
    /// Files, directories, or - for the standard input
    #[arg(required_unless_present_any = ["kubeconfig", "context"], value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Also what a cluster has, listed with these credentials; nothing is written. A file's object
    /// takes the place of the cluster's
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<String>,
    /// Also what the cluster of this context has; see --kubeconfig [default: the current one, of
    /// KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// How to answer.
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `sekisho reference`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReferenceArgs {
    /// Which page
    #[arg(value_enum)]
    pub(crate) page: Page,
}

/// `sekisho crds`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CrdsArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: CrdsVerb,
}

/// What to do about definitions.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CrdsVerb {
    /// Create those that are absent; one that is there is left as it is, whoever made it
    #[command(after_help = "\
Needs get and create on customresourcedefinitions, which the agent itself has not.
Exit codes: 0 each one is there now, 1 the server refused or does not answer")]
    Install(CrdsInstallArgs),
    /// Print them as YAML
    Print,
}

/// `sekisho crds install`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CrdsInstallArgs {
    /// The API server, and the credentials for it [default: ~/.kube/config, else this pod's]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<String>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// How to answer.
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `sekisho selftest`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
It makes namespaces, links, a cgroup and pins of its own, starts an agent on them and removes them
all at its end; an agent that runs here is not touched. It needs root and the program `ip`, and
takes about a minute.
Exit codes: 0 all is as it should be, 6 something got out or was not refused as it should be,
1 it cannot run here")]
pub(crate) struct SelftestArgs {
    /// Only with this family of addresses [default: all three]
    #[arg(long, value_enum, value_name = "FAMILY")]
    pub(crate) family: Option<SelftestFamily>,
    /// Tear this hook off first, and try only what is to be refused: to see that the selftest
    /// notices (`connect4`, `skb_egress`, `tcx_ingress`, …)
    #[arg(long, value_name = "HOOK")]
    pub(crate) detach: Option<String>,
    /// Show every try, not only what is wrong
    #[arg(long)]
    pub(crate) all: bool,
    /// How to answer.
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `sekisho uninstall`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Stop the agent first: a running one is refused. Only this command removes what an agent pinned;
a killed agent leaves it judging.
Exit codes: 0 done or nothing was there, 1 an agent still runs or the kernel refused")]
pub(crate) struct UninstallArgs {
    /// The directory that the agent was given
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub(crate) pin_dir: PathBuf,
    /// Stay when done, until a signal: deploy/uninstall runs it on every node, and a container that
    /// ends would be started again
    #[arg(long)]
    pub(crate) stay: bool,
    /// Where the CNI plugin is, if the agent was given these.
    #[command(flatten)]
    pub(crate) cni: cni::Node,
    /// Which agent, and how to answer.
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// Whether the program was started under a name.
pub(crate) fn is_called(name: &str) -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&called).file_name().is_some_and(|file| file == name)
}

/// The variables that are text: a CNI plugin is asked by them.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Whether the user wants no colours (<https://no-color.org>).
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
