//! The commands that ask or check.

use std::{path::PathBuf, time::Duration};

use agent_source::cluster;
use clap::Subcommand;

use super::{
    DEFAULT_PIN_DIR, DEFAULT_RUN_DIR,
    choices::{Format, Page, SelftestFamily},
    cni,
    credentials::Credentials,
    times::at_least_one,
};
use crate::{
    admin::question::{PodRef, Target},
    observe::flow_filter::{FlowFilter, OfPod, OfProtocol, OfStatus, OfVerdict, To},
};

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

/// `sekisho identity`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 each identity has a certificate that is valid, 1 one has not, or the agent was started
without --ca-dir, 5 no agent answers at --run-dir")]
pub(crate) struct IdentityArgs {
    /// Which agent, and how to answer.
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// `sekisho flows`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sekisho flows --follow --denied -o json
  sekisho flows --pod shop/ --to reviews --status 5xx -n 20
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
    /// Only of a pod: NAMESPACE/NAME, NAME, or NAMESPACE/ for all of a namespace
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<OfPod>,
    /// Only what went there: a host or the beginning of one, an address, a CIDR; :PORT behind a host or
    /// an address
    #[arg(long, value_name = "DEST")]
    pub(crate) to: Option<To>,
    /// Only requests with such a status: 503, 5xx or 400-499
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<OfStatus>,
    /// Only what was judged so: direct, proxy, deny or hold
    #[arg(long, value_name = "VERDICT")]
    pub(crate) verdict: Option<OfVerdict>,
    /// Only of a protocol: tcp, udp, icmp, icmpv6, http (all requests), http2 or grpc
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) protocol: Option<OfProtocol>,
    /// Only the last N of those that are kept
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
}

impl From<&FlowsArgs> for FlowFilter {
    fn from(args: &FlowsArgs) -> Self {
        let FlowsArgs { ask: _, follow, last, denied, pod, to, status, verdict, protocol } =
            args.clone();
        Self { follow, last, denied, pod, to, status, verdict, protocol }
    }
}

/// `sekisho top`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
On a terminal it shows what came since the last look, until q is pressed; elsewhere, with --once, and as
JSON or YAML it shows once what came since the agent started.
Exit codes: 0 done, 5 no agent answers at --run-dir")]
pub(crate) struct TopArgs {
    /// Which agent, and how to answer.
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// Print one table and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = at_least_one)]
    pub(crate) interval: Duration,
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
Requests are routed so where such a route has more to say than the address that was dialled.
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
    /// What the pod accepts by port: mutual TLS alone, or plaintext too
    Inbound,
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

impl AnalyzeArgs {
    /// The cluster that is to be looked at. It has to be named on the command line: a `KUBECONFIG`
    /// that is set is no wish to look at a cluster.
    pub(crate) fn cluster(&self) -> Option<cluster::Credentials> {
        let (kubeconfig, context) = (self.kubeconfig.clone(), self.context.clone());
        let is_named = kubeconfig.is_some() || context.is_some();
        is_named.then_some(cluster::Credentials { kubeconfig, context })
    }
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
    /// Create those that are absent; one that exists is kept, whichever client made it
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
    /// The API server.
    #[command(flatten)]
    pub(crate) credentials: Credentials,
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
