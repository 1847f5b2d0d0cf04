//! The command line: what it accepts and what `--help` says. The environment is read here and
//! nowhere else.

mod access_log;
mod agent;
mod ca;
mod choices;
pub(crate) mod cni;
mod commands;
mod credentials;
mod times;

use std::os::unix::process::CommandExt as _;

use clap::{Parser, Subcommand};

pub(crate) use self::{
    agent::AgentArgs,
    ca::{Account, Ca, CaArgs, ServeCaArgs},
    choices::{Format, Http, OnRevoke, Page, PodExclusions, PodNamespaces, SelftestFamily},
    commands::{
        AnalyzeArgs, ConfigArgs, ConfigView, CrdsArgs, CrdsInstallArgs, CrdsVerb, FlowsArgs,
        IdentityArgs, ReferenceArgs, SelftestArgs, StatusArgs, TopArgs, UninstallArgs, WhyArgs,
    },
};

/// Where an agent keeps its socket and state when nothing else is said.
pub(crate) const DEFAULT_RUN_DIR: &str = "/run/sekisho";
/// Where files for TLS are.
pub(crate) const DEFAULT_TLS_DIR: &str = "/etc/sekisho/tls";
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
    /// Show which pods ask which services, how that goes and how long it takes
    Top(TopArgs),
    /// Say why a pod may or may not reach a destination, and what would allow it
    Why(WhyArgs),
    /// Show what requests of a pod are held against: listeners, routes, clusters, endpoints
    Config(ConfigArgs),
    /// Show the certificates of this node's pods: serial, age, renewal, last error
    Identity(IdentityArgs),
    /// Check manifests, or what a cluster has, without an agent
    Analyze(AnalyzeArgs),
    /// Run the CA of a cluster: it signs the certificates that agents ask for
    Ca(Box<ServeCaArgs>),
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

/// Whether the program was started under a name.
pub(crate) fn is_called(name: &str) -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&called).file_name().is_some_and(|file| file == name)
}

/// Replaces the running process by a new one of the same program, started in the same way. It returns
/// only when that fails.
pub(crate) fn begin_again() -> std::io::Error {
    let mut called = std::env::args_os();
    // The program as it was when it was started, whatever its file is by now.
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0(called.next().unwrap_or_default()).args(called).exec()
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
