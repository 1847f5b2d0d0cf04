//! The commands that ask or check, and how they end. Each makes a text from plain data; only this
//! file talks to the terminal.

mod analyze;
mod config;
mod crds;
mod findings;
mod flows;
mod identity;
mod output;
mod reference;
mod selftest;
mod status;
mod top;
mod uninstall;
mod why;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use output::Paint;

use crate::{
    admin::client::ClientError,
    args::{self, Command, exit},
    signals::until_signal,
};

/// What a command has to say, and its exit code.
struct Answer {
    text: String,
    code: u8,
}

/// Runs a command other than `agent`.
pub(crate) fn run(command: Command) -> ExitCode {
    match dispatch(command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("sekisho: {error:#}");
            ExitCode::from(code_of(&error))
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let paint = paint();
    let answer = match command {
        Command::Status(args) => runtime.block_on(status::run(&args, paint))?,
        Command::Flows(args) => return runtime.block_on(flows::run(&args, paint)),
        Command::Top(args) => runtime.block_on(top::run(&args, paint))?,
        Command::Uninstall(args) => {
            let answer = uninstall::run(&args)?;
            if args.stay {
                print(&answer.text)?;
                runtime.block_on(until_signal())?;
                return Ok(answer.code);
            }
            answer
        }
        Command::Why(args) => runtime.block_on(why::run(&args, paint))?,
        Command::Config(args) => runtime.block_on(config::run(&args, paint))?,
        Command::Identity(args) => runtime.block_on(identity::run(&args, paint))?,
        Command::Analyze(args) => runtime.block_on(analyze::run(&args, paint))?,
        Command::Crds(args) => runtime.block_on(crds::run(&args))?,
        Command::Reference(args) => Answer { text: reference::run(&args)?, code: exit::OK },
        Command::Selftest(args) => runtime.block_on(selftest::run(args, paint))?,
        Command::SelftestProbe { words } => {
            selftest::probe(words)?;
            return Ok(exit::OK);
        }
        Command::Agent(_) | Command::Ca(_) | Command::Cni => unreachable!("main runs these"),
    };
    print(&answer.text)?;
    Ok(answer.code)
}

/// What the standard output can show.
fn paint() -> Paint {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Paint::new(false);
    }
    let paint = Paint::new(!args::no_color());
    match terminal_size::terminal_size_of(stdout) {
        // A terminal that says nothing of itself has no columns.
        Some((terminal_size::Width(columns @ 1..), _)) => paint.within(columns.into()),
        _ => paint,
    }
}

/// No agent is told apart from everything else that may go wrong.
fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(ClientError::NoAgent { .. }) => exit::NO_AGENT,
        _ => exit::FAILURE,
    }
}

/// Writes to the standard output. A reader that has seen enough (`| head`) is no trouble.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Whether the reader of the standard output is still there.
fn print_and_go_on(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}
