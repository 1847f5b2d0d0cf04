//! Our plugin in the node's CNI directories: the program, and then an entry in the configuration that the
//! runtime reads, which is the first by name. Each is placed by a rename.
//!
//! - A list is changed in place, as the chained plugins of Istio and Linkerd do. A copy would miss what
//!   its owner changes later. Everything else in it keeps its text.
//! - A single plugin's file cannot hold a second one. It stays as it is, and a list made of it
//!   (`10-net-sekisho.conflist` for `10-net.conf`) sorts directly before it and follows it.
//! - An owner that writes its file again drops the entry, and a watch puts it back. Pods that are made in
//!   between are held by layer 1 like any unknown one.
//! - Nothing is remembered: what is ours is told by its type and its name, and `sekisho uninstall` with the
//!   same directories takes out just that.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_base::{error::chain, file::Draft};
use agent_pods::sandboxes::identity;
use arc_swap::ArcSwap;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::AccessKind};
use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    conflist::{self, ConflistError, Shape},
    plugin::NAME,
};
use crate::observe::status::Cni;

#[cfg(test)]
mod tests;

/// How often both directories are looked at, whatever the watch says.
const LOOK: Duration = Duration::from_secs(2);
/// A program that writes a file often writes it in steps.
const QUIET: Duration = Duration::from_millis(50);
/// Where a file is written before it gets its name; no runtime reads such a name.
const DRAFT: &str = ".sekisho-cni.draft";

/// Why the plugin is not in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// A directory or file cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration that the runtime reads makes no sense to us.
    #[error("cannot put the plugin into {}", path.display())]
    Conflist {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConflistError,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { path, source }
}

/// The node's CNI directories.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    /// Of configurations.
    pub(crate) conf: PathBuf,
    /// Of programs.
    pub(crate) bin: PathBuf,
}

/// Our entry.
pub(crate) fn entry(socket: &Path, deadline: Duration, exclude: &[String]) -> Value {
    json!({
        "type": NAME,
        "socket": socket,
        "deadlineSeconds": deadline.as_secs(),
        "excludeNamespaces": exclude,
    })
}

/// Keeps the plugin in place until the future is dropped.
pub(crate) async fn keep(directories: Directories, entry: Value, state: Arc<ArcSwap<Cni>>) {
    let changed = Arc::new(Notify::new());
    let mut watch = Watch::new(&changed);
    let mut program = None;
    loop {
        watch.on(&directories.conf);
        let (places, wanted) = (directories.clone(), entry.clone());
        let done = tokio::task::spawn_blocking(move || install(&places, &wanted, program)).await;
        let now = match done {
            Ok((kept, outcome)) => {
                program = kept;
                told(outcome)
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if **state.load() != now {
            let Cni { file, problem } = &now;
            if let Some(problem) = problem {
                tracing::warn!(problem, "the CNI plugin is not in place");
            } else {
                tracing::info!(file, "the CNI plugin is in place");
            }
            state.store(Arc::new(now));
        }
        if timeout(LOOK, changed.notified()).await.is_ok() {
            sleep(QUIET).await;
        }
    }
}

fn told(outcome: Result<Option<PathBuf>, InstallError>) -> Cni {
    match outcome {
        Ok(Some(file)) => Cni { file: Some(file.display().to_string()), problem: None },
        Ok(None) => {
            let why = "the node has no CNI configuration (yet)";
            Cni { file: None, problem: Some(why.to_owned()) }
        }
        Err(error) => Cni { file: None, problem: Some(chain(&error)) },
    }
}

/// The watch on a directory, which is lost with the directory.
struct Watch {
    inner: Option<RecommendedWatcher>,
    watched: Option<(u64, u64)>,
}

impl Watch {
    fn new(changed: &Arc<Notify>) -> Self {
        let changed = Arc::clone(changed);
        let tell = move |event: notify::Result<notify::Event>| {
            // Looking is no change; without this, our own look would call for the next one.
            let looked = event.as_ref().is_ok_and(|event| match event.kind {
                EventKind::Access(kind) => !matches!(kind, AccessKind::Close(_)),
                _ => false,
            });
            if !looked {
                changed.notify_one();
            }
        };
        // Without one the look every few seconds remains.
        Self { inner: notify::recommended_watcher(tell).ok(), watched: None }
    }

    fn on(&mut self, directory: &Path) {
        let now = identity(directory).ok();
        if self.watched == now {
            return;
        }
        let Some(inner) = &mut self.inner else { return };
        let _ = inner.unwatch(directory);
        let watched = inner.watch(directory, RecursiveMode::NonRecursive);
        self.watched = now.filter(|_| watched.is_ok());
    }
}

/// What tells that the program in the directory is the one that we have put there.
type Program = (u64, u64, i64);

/// Puts both in place; the file with our entry, and what was put into the directory of programs.
fn install(
    directories: &Directories,
    entry: &Value,
    program: Option<Program>,
) -> (Option<Program>, Result<Option<PathBuf>, InstallError>) {
    // The program first: a runtime must never read of one that is not there.
    match place_program(&directories.bin, program) {
        Ok(kept) => (Some(kept), configure(&directories.conf, entry)),
        Err(error) => (None, Err(error)),
    }
}

fn place_program(directory: &Path, before: Option<Program>) -> Result<Program, InstallError> {
    let path = directory.join(NAME);
    let state = |metadata: fs::Metadata| (metadata.ino(), metadata.len(), metadata.mtime());
    let now = fs::metadata(&path).map(state).ok();
    if let Some(program) = before.filter(|before| Some(*before) == now) {
        return Ok(program);
    }
    let own = Path::new("/proc/self/exe");
    let bytes = fs::read(own).map_err(at(own))?;
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return fs::metadata(&path).map(state).map_err(at(&path));
    }
    fs::create_dir_all(directory).map_err(at(directory))?;
    write(&path, &bytes, 0o755).map_err(at(&path))?;
    fs::metadata(&path).map(state).map_err(at(&path))
}

/// Puts our entry into the configuration that the runtime reads, and nowhere else.
fn configure(directory: &Path, entry: &Value) -> Result<Option<PathBuf>, InstallError> {
    let names = names(directory)?;
    let theirs = |name: &&String| !conflist::is_made_by_us(name);
    let chosen = names.iter().find(theirs);
    let file = match chosen {
        Some(name) => Some(put_into(directory, name, entry)?),
        None => None,
    };
    for name in names.iter().filter(|name| {
        let path = directory.join(name.as_str());
        Some(*name) != chosen && Some(&path) != file.as_ref()
    }) {
        // What cannot be read holds nothing of ours that could be taken out.
        take_out(directory, name).or_else(|error| match error {
            InstallError::Conflist { .. } => Ok(false),
            error @ InstallError::Io { .. } => Err(error),
        })?;
    }
    Ok(file)
}

/// The files that a runtime would read, in its order.
fn names(directory: &Path) -> Result<Vec<String>, InstallError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(directory)(error)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| conflist::shape(name).is_some()).collect();
    names.sort_unstable();
    Ok(names)
}

/// A name that is a link stays one: what it leads to is written.
fn file_of(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    path.canonicalize().unwrap_or(path)
}

fn put_into(directory: &Path, name: &str, entry: &Value) -> Result<PathBuf, InstallError> {
    let path = file_of(directory, name);
    let (text, seen) = read(&path).map_err(at(&path))?;
    let broken = |source| InstallError::Conflist { path: path.clone(), source };
    if conflist::shape(name) == Some(Shape::List) {
        if let Some(text) = conflist::insert(&text, entry).map_err(broken)? {
            replace(&path, text.as_bytes(), seen).map_err(at(&path))?;
        }
        return Ok(directory.join(name));
    }
    let list = conflist::wrap(&text, entry).map_err(broken)?;
    let ours = directory.join(conflist::name_for(name));
    if !fs::read(&ours).is_ok_and(|there| there == list.as_bytes()) {
        let mode = fs::metadata(&path).map_err(at(&path))?.permissions().mode();
        write(&ours, list.as_bytes(), mode).map_err(at(&ours))?;
    }
    Ok(ours)
}

/// Takes our entry out of a file, or the file away when it is ours; whether there was anything.
fn take_out(directory: &Path, name: &str) -> Result<bool, InstallError> {
    if conflist::is_made_by_us(name) {
        let path = directory.join(name);
        return fs::remove_file(&path).map(|()| true).map_err(at(&path));
    }
    let path = file_of(directory, name);
    if conflist::shape(name) != Some(Shape::List) {
        return Ok(false);
    }
    let (text, seen) = read(&path).map_err(at(&path))?;
    let without = conflist::remove(&text)
        .map_err(|source| InstallError::Conflist { path: path.clone(), source })?;
    let Some(without) = without else { return Ok(false) };
    replace(&path, without.as_bytes(), seen).map_err(at(&path))?;
    Ok(true)
}

/// Takes the entry and then the program out of the node; what was removed.
pub(crate) fn uninstall(directories: &Directories) -> Result<Vec<String>, InstallError> {
    let mut removed = Vec::new();
    for name in names(&directories.conf)? {
        let taken = match take_out(&directories.conf, &name) {
            Err(InstallError::Conflist { .. }) => false,
            taken => taken?,
        };
        if taken {
            removed.push(format!("{NAME} in {}", directories.conf.join(&name).display()));
        }
    }
    // Drafts are there when an agent was killed in the middle of a write.
    let Directories { conf, bin } = directories;
    for path in [bin.join(NAME), bin.join(DRAFT), conf.join(DRAFT)] {
        match fs::remove_file(&path) {
            Ok(()) => removed.push(path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
    }
    Ok(removed)
}

/// What tells a file that another program has written meanwhile.
type Seen = (u64, i64, i64, u64);

fn seen(path: &Path) -> io::Result<Seen> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

fn read(path: &Path) -> io::Result<(Vec<u8>, Seen)> {
    let before = seen(path)?;
    Ok((fs::read(path)?, before))
}

/// Writes a file that is there, unless another process has just done so: then the next look finds it.
fn replace(path: &Path, text: &[u8], before: Seen) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let mut draft = draft(path, text, metadata.permissions().mode())?;
    let owner = |metadata: &fs::Metadata| (metadata.uid(), metadata.gid());
    if owner(&draft.file().metadata()?) != owner(&metadata) {
        fchown(draft.file(), Some(metadata.uid()), Some(metadata.gid()))?;
    }
    if seen(path)? != before {
        return Err(io::Error::other("another program has just written it"));
    }
    draft.commit()
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    draft(path, text, mode)?.commit()
}

/// Writes a file whole, under a name that no program reads, so that a rename makes it the other's.
fn draft(path: &Path, text: &[u8], mode: u32) -> io::Result<Draft> {
    let mut draft = Draft::named(path, DRAFT, mode & 0o7777)?;
    draft.file().write_all(text)?;
    Ok(draft)
}
