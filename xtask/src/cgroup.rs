//! A group of the cgroup v2 tree for processes of a verb, removed when dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, id},
    thread,
    time::Duration,
};

use anyhow::Context as _;

/// Has the shell that is the command move into a group, and become the program that is named next.
pub(crate) fn enter<'c>(shell: &'c mut Command, cgroup: &Path) -> &'c mut Command {
    const ENTER: &str = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    shell.args(["-c", ENTER]).arg(cgroup)
}

#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(crate) fn new(label: &str) -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = root(&mounts).context("no cgroup v2 tree is mounted")?;
        let path = root.join(format!("skt-{label}-{}", id()));
        fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into the group. Sockets belong to the group of the process that makes them, so this
    /// comes before the process makes any.
    pub(crate) fn take(&self, process: u32) -> anyhow::Result<()> {
        Ok(fs::write(self.path.join("cgroup.procs"), process.to_string())?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        const ATTEMPTS: u32 = 50;
        // A process that has just ended is listed until the kernel has taken it apart.
        for _ in 0..ATTEMPTS {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} is left behind", self.path.display());
    }
}

/// Most nodes mount it at `/sys/fs/cgroup`, some beside cgroup v1 below it.
fn root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next() == Some("cgroup2")).then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_tree_is_found_beside_v1() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(root(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(root("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"), None);
    }
}
