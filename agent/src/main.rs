//! The program `sekisho`: a contents page of what it can do.

mod admin;
mod app;
mod args;
mod certificates;
mod cli;
mod cni;
mod handover;
mod heap;
mod members;
mod observe;
mod proxied;
mod publisher;
mod report;
mod sync;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if args::is_called(cni::plugin::NAME) {
        return cni::plugin::run(args::environment());
    }
    match args::Args::parse().command {
        args::Command::Cni => cni::plugin::run(args::environment()),
        args::Command::Agent(args) => agent(*args),
        command => cli::run(command),
    }
}

fn agent(args: args::AgentArgs) -> ExitCode {
    heap::keep_little();
    let run = || {
        observe::log::start(&args.log, args.log_format, args::no_color())?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(app::run(args))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sekisho: {error:#}");
            ExitCode::from(args::exit::FAILURE)
        }
    }
}
