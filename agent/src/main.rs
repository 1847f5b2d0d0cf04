//! The program `sekisho`: a contents page of what it can do.

mod admin;
mod args;
mod kernel;
mod observe;
mod pods;
mod source;
mod sync;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    eprintln!("sekisho: this build cannot do that yet: {:?}", args.command);
    ExitCode::from(args::exit::FAILURE)
}
