//! Which namespace is whose, by what the container runtime said when it made the sandbox.
//!
//! An entry names the pod, its UID, the sandbox and the namespace with its inode: none of it can be
//! another pod's. It outlives the agent in a file of the run directory, which goes with the machine's
//! run time as the namespaces do; an entry whose path names another namespace by then is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use agent_base::{file::Draft, lock::lock};
use agent_model::pod::PodId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// A pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// The pod's namespace in Kubernetes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty when the runtime does not say.
    #[serde(default)]
    pub uid: String,
    /// What the runtime calls the sandbox.
    pub id: String,
    /// The path of its network namespace.
    pub netns: PathBuf,
    /// The device and inode that the path led to: a namespace's own, in whatever mount namespace.
    pub identity: (u64, u64),
    /// The addresses that it was given.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

impl Sandbox {
    /// Whose it is.
    pub fn pod(&self) -> PodId {
        PodId { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// False once its path names nothing or another namespace.
    pub(crate) fn is_current(&self) -> bool {
        identity(&self.netns).is_ok_and(|identity| identity == self.identity)
    }
}

/// The device and inode of what a path names.
pub fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The sandboxes that are known, in a file of the run directory. A change is written before it
/// counts, which blocks the calling thread.
#[derive(Debug)]
pub struct Sandboxes {
    file: PathBuf,
    known: Mutex<BTreeMap<PodId, Sandbox>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

impl Sandboxes {
    /// What an agent before has left in a file, as far as it is still so.
    pub fn open(file: PathBuf) -> Self {
        let known = read(&file).unwrap_or_else(|error| {
            tracing::warn!(path = %file.display(), %error, "cannot read where pods are");
            Vec::new()
        });
        let known = known.into_iter().filter(Sandbox::is_current);
        let known = Mutex::new(known.map(|sandbox| (sandbox.pod(), sandbox)).collect());
        Self { file, known, changes: watch::Sender::new(0) }
    }

    /// The sandbox of a pod with this UID.
    pub fn of(&self, pod: &PodId, uid: &str) -> Option<Sandbox> {
        let known = lock(&self.known);
        let sandbox = known.get(pod)?;
        let is_it = uid.is_empty() || sandbox.uid.is_empty() || sandbox.uid == uid;
        is_it.then(|| sandbox.clone())
    }

    /// Takes in sandboxes.
    pub fn put(&self, sandboxes: impl IntoIterator<Item = Sandbox>) -> io::Result<()> {
        self.change(|known| {
            // What is never reported as removed would stay for ever.
            known.retain(|_, sandbox| sandbox.is_current());
            known.extend(sandboxes.into_iter().map(|sandbox| (sandbox.pod(), sandbox)));
        })
    }

    /// Forgets a sandbox.
    pub fn forget(&self, id: &str) -> io::Result<()> {
        self.change(|known| known.retain(|_, sandbox| sandbox.id != id))
    }

    /// Forgets every sandbox but these.
    pub fn keep(&self, ids: &BTreeSet<String>) -> io::Result<()> {
        self.change(|known| known.retain(|_, sandbox| ids.contains(&sandbox.id)))
    }

    /// Tells of changes from here on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PodId, Sandbox>)) -> io::Result<()> {
        let mut known = lock(&self.known);
        let before = known.clone();
        change(&mut known);
        if *known == before {
            return Ok(());
        }
        if let Err(error) = write(&self.file, known.values()) {
            *known = before;
            return Err(error);
        }
        drop(known);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<Vec<Sandbox>> {
    match fs::read(file) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write<'a>(file: &Path, known: impl Iterator<Item = &'a Sandbox>) -> io::Result<()> {
    let text = serde_json::to_vec(&known.collect::<Vec<_>>())?;
    let mut draft = Draft::new(file, 0o600)?;
    draft.file().write_all(&text)?;
    draft.commit()
}
