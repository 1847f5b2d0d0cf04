//! A group of the cgroup v2 tree; removed, with the processes in it, when dropped.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// A group that the tests made.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A group below the root of the v2 tree.
    pub fn new(name: &str) -> Result<Self> {
        Self::at(root()?.join(name))
    }

    /// A group below this one.
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::at(self.path.join(name))
    }

    fn at(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("making the group {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file through which a process joins by writing `0` to it.
    pub fn door(&self) -> Result<File> {
        door(&self.path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = destroy(&self.path) {
            eprintln!("could not remove the group {}: {error}", self.path.display());
        }
    }
}

/// The file through which a process joins the group at `path`.
pub fn door(path: &Path) -> Result<File> {
    let door = path.join("cgroup.procs");
    File::options().write(true).open(&door).with_context(|| format!("opening {}", door.display()))
}

/// Where the v2 tree is mounted: its own mount on most nodes, beside the v1 trees on others.
pub fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    mounts
        .lines()
        .find_map(|line| {
            let mut words = line.split(' ');
            let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(place))
        })
        .context("no cgroup v2 tree is mounted")
}

/// Kills what runs in a group and removes it with the groups below.
pub(crate) fn destroy(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    fs::write(path.join("cgroup.kill"), "1")?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            destroy(&entry.path())?;
        }
    }
    // A killed process leaves its group when it has ended, which the kill does not wait for.
    let mut outcome = Ok(());
    for _ in 0..200 {
        outcome = fs::remove_dir(path);
        match &outcome {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(10));
            }
            _ => return outcome,
        }
    }
    outcome
}
