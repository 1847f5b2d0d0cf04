//! Names of what a run makes, and the end of what dead runs left.
//!
//! A name is `skt-<pid>-<number>[-<role>]`. The process's number in it tells whether the run that
//! made the thing still lives; if not, the next run removes it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    cgroup,
    netns::{self, NETNS_DIR},
};

const PREFIX: &str = "skt-";

/// Where pinned maps and links live.
pub const BPF_DIR: &str = "/sys/fs/bpf";

static SWEPT: Once = Once::new();
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A name that nothing else on this machine has. The first call of a process sweeps.
pub fn unique() -> String {
    SWEPT.call_once(sweep);
    format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `name` is one of ours and the run that made it is dead.
fn is_left_over(name: &str) -> bool {
    let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    pid.and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// Removes what dead runs left. Failures are only reported: another run may sweep at the same time.
fn sweep() {
    for path in left_over(cgroup::root().unwrap_or_default().as_path()) {
        report(&path, cgroup::destroy(&path));
    }
    for path in left_over(Path::new(NETNS_DIR)) {
        report(&path, netns::remove(&path));
    }
    for path in left_over(Path::new(BPF_DIR)).into_iter().chain(left_over(&std::env::temp_dir())) {
        report(&path, fs::remove_dir_all(&path));
    }
}

fn left_over(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(is_left_over))
        .map(|entry| entry.path())
        .collect()
}

fn report(path: &Path, outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("could not sweep {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_live_run_and_of_others_are_not_left_over() {
        assert!(!is_left_over(&unique()));
        assert!(!is_left_over("cni-1234"));
        assert!(!is_left_over("skt-notanumber"));
    }

    #[test]
    fn the_name_of_a_dead_run_is_left_over() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(is_left_over(&format!("skt-{}-1-node", child.id())));
    }
}
