//! The program `sekisho`: a contents page of what it can do.

mod admin;
mod app;
mod args;
mod kernel;
mod observe;
mod pods;
mod publisher;
mod report;
mod source;
mod sync;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match run(args.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sekisho: {error:#}");
            ExitCode::from(args::exit::FAILURE)
        }
    }
}

fn run(command: args::Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        args::Command::Agent(args) => {
            observe::log::start(&args.log, args.log_format, false)?;
            runtime.block_on(app::run(args))?;
        }
        other => anyhow::bail!("this build cannot do that yet: {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}
