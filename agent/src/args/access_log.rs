//! What the agent is told of its access log.

use std::path::PathBuf;

use agent_model::pod::AccessLog;
use clap::ValueEnum;

use crate::observe::access_log::{Settings, line::Format};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AccessLogArgs {
    /// Which of the requests that the proxy serves have a line in the access log, where neither the pod
    /// nor its namespace has the annotation sekisho.dev/access-log
    #[arg(id = "access_log", long = "access-log", value_enum, default_value_t = Which::Off)]
    which: Which,
    /// How the lines of the access log look
    #[arg(
        id = "access_log_format",
        long = "access-log-format",
        value_enum,
        default_value_t = Format::Text
    )]
    format: Format,
    /// Append the access log to this file, and open it again on SIGHUP or when it was moved [default: the
    /// standard output]
    #[arg(id = "access_log_file", long = "access-log-file", value_name = "PATH")]
    file: Option<PathBuf>,
}

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// None
    Off,
    /// All
    On,
    /// Those with a status of 400 or more, with none, or with one of Envoy's response flags
    Errors,
}

impl From<AccessLogArgs> for Settings {
    fn from(args: AccessLogArgs) -> Self {
        let AccessLogArgs { which, format, file } = args;
        let default = match which {
            Which::Off => AccessLog::Off,
            Which::On => AccessLog::On,
            Which::Errors => AccessLog::Errors,
        };
        Self { default, format, file }
    }
}
