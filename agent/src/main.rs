//! The program `sekisho`: a contents page of what it can do.

mod admin;
mod app;
mod args;
mod ca;
mod certificates;
mod cli;
mod cni;
mod handover;
mod heap;
mod identity;
mod members;
mod observe;
mod proxied;
mod publisher;
mod report;
mod signals;
mod sync;

use std::process::ExitCode;

use clap::Parser;

use crate::observe::log::{self, LogFormat};

fn main() -> ExitCode {
    if args::is_called(cni::plugin::NAME) {
        return cni::plugin::run(args::environment());
    }
    match args::Args::parse().command {
        args::Command::Cni => cni::plugin::run(args::environment()),
        args::Command::Agent(args) => agent(*args),
        args::Command::Ca(args) => ca(*args),
        command => cli::run(command),
    }
}

fn agent(args: args::AgentArgs) -> ExitCode {
    heap::keep_little();
    serve((args.log.clone(), args.log_format), app::run(args))
}

fn ca(args: args::ServeCaArgs) -> ExitCode {
    serve((args.log.clone(), args.log_format), ca::run(args))
}

/// Runs a process that serves, and says why it ends.
fn serve(
    (log, format): (String, LogFormat),
    work: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    let run = || {
        log::start(&log, format, args::no_color())?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sekisho: {error:#}");
            ExitCode::from(args::exit::FAILURE)
        }
    }
}
