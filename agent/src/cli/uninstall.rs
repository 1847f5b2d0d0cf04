//! `sekisho uninstall`: the one way to remove what an agent pinned.

use std::path::Path;

use agent_kernel::lifecycle;
use anyhow::bail;

use super::{Answer, output::encode};
use crate::{
    admin::rundir,
    args::{UninstallArgs, exit},
    cni::install,
};

pub(super) fn run(args: &UninstallArgs) -> anyhow::Result<Answer> {
    if let Some(pid) = rundir::holder_of(&args.ask.run_dir) {
        bail!(
            "an agent still runs on {} (process {pid}): stop it first, it would only put \
             everything back",
            args.ask.run_dir.display()
        );
    }
    // New pods first: they would wait for an agent that does not come back.
    let mut removed = match args.cni.directories() {
        Some(directories) => install::uninstall(&directories)?,
        None => Vec::new(),
    };
    removed.extend(lifecycle::uninstall(&args.pin_dir)?);
    let text = match encode(args.ask.output.format, &removed)? {
        Some(text) => text,
        None => table(&args.pin_dir, &removed),
    };
    Ok(Answer { text, code: exit::OK })
}

fn table(pin_dir: &Path, removed: &[String]) -> String {
    if removed.is_empty() {
        return format!("nothing was pinned at {}\n", pin_dir.display());
    }
    let lines = removed.iter().fold(String::new(), |lines, name| lines + "removed " + name + "\n");
    lines + "nothing is judged on this node any more by what this agent left\n"
}
