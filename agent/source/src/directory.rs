//! Watches a directory of manifests and publishes what is in force.
//!
//! One task owns the scanner and the store. It works when a burst of changes is over
//! ([`Debounce::CHANGES`]; a file that is known to be open for writing keeps the burst alive up to
//! its bound), and every [`RESCAN`] in case the kernel kept a change to itself. Where the kernel
//! cannot watch at all it looks every [`POLL`] and says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_model::finding::Severity;
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    task, time,
};

use super::{
    announce::announce,
    debounce::Debounce,
    object,
    scan::Scanner,
    store::Store,
    watcher::{Change, Watcher, is_being_written},
};
use crate::{
    code,
    note::Note,
    observed::{Observed, Reader},
    statement::Statement,
};

/// How long a change may stay unseen of which the kernel sent no notice.
pub(crate) const RESCAN: Duration = Duration::from_secs(30);
/// The same where the kernel does not watch.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// Why a directory cannot be a source.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read the configuration directory {}; make it, or correct --config-dir",
    path.display()
)]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// A directory as a source. Nothing happens until [`Directory::run`].
#[derive(Debug)]
pub struct Directory {
    state: State,
    publisher: watch::Sender<Option<Observed>>,
    watch: Option<UnboundedReceiver<Change>>,
}

/// What a scan works on; it moves to a blocking thread and back.
#[derive(Debug)]
struct State {
    root: PathBuf,
    scanner: Scanner,
    store: Store,
    watcher: Result<Watcher, String>,
    /// Whether the watches in place cover the directory.
    covered: bool,
}

impl Directory {
    /// Checks that there is such a directory.
    pub fn open(path: &Path) -> Result<(Self, Reader), OpenError> {
        // A full path, so that the names which the kernel gives can be compared with ours.
        let fail = |source| OpenError { path: path.to_owned(), source };
        let root = std::path::absolute(path).map_err(fail)?;
        fs::read_dir(&root).map_err(fail)?;
        let (watcher, watch) = match Watcher::new() {
            Ok((watcher, changes)) => (Ok(watcher), Some(changes)),
            Err(error) => (Err(error.to_string()), None),
        };
        let scanner = Scanner::new(root.clone());
        let state = State { root, scanner, store: Store::default(), watcher, covered: false };
        let (publisher, reader) = watch::channel(None);
        Ok((Self { state, publisher, watch }, reader))
    }

    /// Publishes the first state, and then each other one, until the receiver is dropped.
    pub async fn run(self) {
        let Self { mut state, publisher, mut watch } = self;
        let mut changes = Vec::new();
        loop {
            let scan = task::spawn_blocking(move || {
                let observed = state.update(&changes);
                (state, observed)
            });
            // It can only fail by a panic, which is ours to pass on.
            let (back, observed) = match scan.await {
                Ok(done) => done,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            state = back;
            announce(&publisher, observed);
            let pause = if state.covered { RESCAN } else { POLL };
            changes = tokio::select! {
                () = publisher.closed() => return,
                changes = burst(watch.as_mut(), pause) => changes,
            };
        }
    }
}

/// The next burst of changes, or none when it is time to look anyway.
async fn burst(watch: Option<&mut UnboundedReceiver<Change>>, pause: Duration) -> Vec<Change> {
    let Some(watch) = watch else {
        time::sleep(pause).await;
        return Vec::new();
    };
    match time::timeout(pause, watch.recv()).await {
        Ok(Some(first)) => Debounce::CHANGES.collect(first, watch, is_being_written).await,
        _ => Vec::new(),
    }
}

impl State {
    /// Watches first and reads then: a change between the two is told rather than missed.
    fn update(&mut self, changes: &[Change]) -> Observed {
        let place = self.root.display().to_string();
        let trouble = self.watch(changes).err();
        self.covered = trouble.is_none();
        let statement = match (self.scanner.scan(&mut self.store), trouble) {
            (Err(error), _) => {
                let why = format!("cannot list the configuration directory: {error}");
                if self.scanner.is_fresh() {
                    object::unreadable_place(&place, &why)
                } else {
                    object::unreadable_now(&place, &why)
                }
            }
            (Ok(()), Some(trouble)) => unwatched(&place, &trouble),
            (Ok(()), None) => Statement::default(),
        };
        self.store.say(place.into(), statement);
        Observed { spots: Arc::new(self.store.spots()), ..self.store.settle() }
    }

    fn watch(&mut self, changes: &[Change]) -> Result<(), String> {
        let watcher = self.watcher.as_mut().map_err(|error| error.clone())?;
        // Also where the directory is away: one that is made again may have the same inode.
        watcher.changed(changes);
        let wanted = self.scanner.watched().map_err(|error| error.to_string())?;
        watcher.watch(wanted).map_err(|error| error.to_string())
    }
}

fn unwatched(place: &str, trouble: &str) -> Statement {
    let message = format!(
        "the kernel does not watch this directory ({trouble}); it is read again every second; \
         fs.inotify.max_user_instances or max_user_watches may be too low"
    );
    let note = Note::loose(Severity::Warning, code::UNWATCHED, message).at(place.to_owned());
    Statement { loose: vec![note], ..Statement::default() }
}

#[cfg(test)]
mod tests;
