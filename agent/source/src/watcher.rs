//! Tells that something in some directories changed. It may say so too often, and its reader
//! rescans once in a while in case it said nothing when it should have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use agent_base::lock::lock;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// What the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A file was written to, and the writer has not closed it yet.
    Writing(PathBuf),
    /// A file or directory is another than before, and whole as far as that can be told.
    Done(PathBuf),
    /// Events were lost: anything may have changed.
    Unknown,
}

/// Where changes are to be told of. No path leads through a link, so that each directory has one name
/// however many links lead to it: the kernel has one watch for it, which the first of them to go would
/// take from the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Directories: whatever happens in them.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Names in other directories: what links lead to.
    pub(crate) names: BTreeSet<PathBuf>,
}

impl Watched {
    /// All directories that the kernel watches.
    fn places(&self) -> BTreeSet<PathBuf> {
        let beside = self.names.iter().filter_map(|name| name.parent()).map(Path::to_owned);
        self.directories.iter().cloned().chain(beside).collect()
    }
}

/// What is watched for, with all directories of it.
#[derive(Debug, Default)]
struct Wanted {
    watched: Watched,
    places: BTreeSet<PathBuf>,
}

impl Wanted {
    /// Whether a change of this path is one that is watched for.
    fn concerns(&self, path: &Path) -> bool {
        let Watched { directories, names } = &self.watched;
        self.places.contains(path)
            || names.contains(path)
            || path.parent().is_some_and(|directory| directories.contains(directory))
    }
}

impl From<Watched> for Wanted {
    fn from(watched: Watched) -> Self {
        Self { places: watched.places(), watched }
    }
}

/// Watches on directories, by inode: a directory that was replaced is watched again.
#[derive(Debug)]
pub(super) struct Watcher {
    inner: RecommendedWatcher,
    wanted: Arc<Mutex<Wanted>>,
    watched: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watcher {
    /// A watcher of nothing yet, and what it says.
    pub(super) fn new() -> notify::Result<(Self, UnboundedReceiver<Change>)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let wanted = Arc::new(Mutex::new(Wanted::default()));
        let concerns = {
            let wanted = Arc::clone(&wanted);
            move |path: &Path| lock(&wanted).concerns(path)
        };
        let inner = notify::recommended_watcher(move |event| tell(&sender, event, &concerns))?;
        Ok((Self { inner, wanted, watched: BTreeMap::new() }, receiver))
    }

    /// Watches these and no others.
    pub(super) fn watch(&mut self, wanted: Watched) -> notify::Result<()> {
        let places = wanted.places();
        *lock(&self.wanted) = wanted.into();
        let gone: Vec<PathBuf> =
            self.watched.keys().filter(|path| !places.contains(*path)).cloned().collect();
        for path in gone {
            self.forget(&path);
        }
        for path in places {
            let id = identity(&path).map_err(notify::Error::io)?;
            if self.watched.get(&path) == Some(&id) {
                continue;
            }
            self.forget(&path);
            self.inner.watch(&path, RecursiveMode::NonRecursive)?;
            self.watched.insert(path, id);
        }
        Ok(())
    }

    /// A watch does not survive its directory, although the next one may get the same inode. Those of
    /// the directories in it went with it.
    pub(super) fn changed(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::Done(path) = change else { continue };
            let gone: Vec<PathBuf> =
                self.watched.keys().filter(|place| place.starts_with(path)).cloned().collect();
            for place in gone {
                self.forget(&place);
            }
        }
    }

    fn forget(&mut self, path: &Path) {
        if self.watched.remove(path).is_some() {
            // The kernel has dropped it already when the directory is gone.
            let _ = self.inner.unwatch(path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A send fails only when the receiver is gone.
fn tell(
    sender: &UnboundedSender<Change>,
    event: notify::Result<Event>,
    concerns: impl Fn(&Path) -> bool,
) {
    let Ok(event) = event else {
        let _ = sender.send(Change::Unknown);
        return;
    };
    if event.need_rescan() {
        let _ = sender.send(Change::Unknown);
    }
    let change: fn(PathBuf) -> Change = match event.kind {
        // Looking is no change; without this, reading a file would call for reading it again.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Change::Done,
        EventKind::Access(_) => return,
        EventKind::Modify(ModifyKind::Data(_)) => Change::Writing,
        _ => Change::Done,
    };
    for path in event.paths.into_iter().filter(|path| concerns(path)) {
        let _ = sender.send(change(path));
    }
}

/// True while a file of these changes is open for writing, by what was said last about it.
pub(super) fn is_being_written(changes: &[Change]) -> bool {
    let mut open = BTreeSet::new();
    for change in changes {
        match change {
            Change::Writing(path) => {
                open.insert(path);
            }
            Change::Done(path) => {
                open.remove(path);
            }
            Change::Unknown => {}
        }
    }
    !open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_being_written_until_its_writer_closes_it() {
        let (one, other) = (PathBuf::from("a"), PathBuf::from("b"));
        let writing = |path: &PathBuf| Change::Writing(path.clone());
        let done = |path: &PathBuf| Change::Done(path.clone());
        assert!(!is_being_written(&[]));
        assert!(is_being_written(&[writing(&one)]));
        assert!(is_being_written(&[writing(&one), writing(&other), done(&one)]));
        assert!(!is_being_written(&[writing(&one), writing(&other), done(&one), done(&other)]));
        assert!(is_being_written(&[done(&one), writing(&one), Change::Unknown]));
    }

    fn directories(paths: &[&Path]) -> Watched {
        let directories = paths.iter().map(|path| path.to_path_buf()).collect();
        Watched { directories, ..Watched::default() }
    }

    #[test]
    fn a_directory_that_went_is_watched_again_whatever_its_inode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let inner = path.join("inner");
        fs::create_dir(&inner).unwrap();
        let (mut watcher, _changes) = Watcher::new().unwrap();
        let both = directories(&[&path, &inner]);
        watcher.watch(both.clone()).unwrap();
        watcher.changed(&[Change::Done(path.join("a.yaml")), Change::Writing(path.clone())]);
        assert!(watcher.watched.contains_key(&path) && watcher.watched.contains_key(&inner));
        watcher.changed(&[Change::Done(path.clone())]);
        assert!(watcher.watched.is_empty(), "{watcher:?}");
        watcher.watch(both).unwrap();
        assert!(watcher.watched.contains_key(&path) && watcher.watched.contains_key(&inner));
        watcher.watch(Watched::default()).unwrap();
        assert!(watcher.watched.is_empty());
    }

    #[test]
    fn beside_a_link_only_what_it_leads_to_counts() {
        let mut watched = directories(&["/conf".as_ref()]);
        watched.names.insert("/var/a.yaml".into());
        let wanted = Wanted::from(watched);
        for (path, counts) in [
            ("/conf", true),
            ("/conf/b.yaml", true),
            ("/conf/sub/b.yaml", false),
            ("/var", true),
            ("/var/a.yaml", true),
            ("/var/log", false),
        ] {
            assert_eq!(wanted.concerns(path.as_ref()), counts, "{path}");
        }
    }

    #[test]
    fn lost_events_and_errors_call_for_a_rescan_and_looking_does_not() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let told = |event| {
            tell(&sender, event, |_: &Path| true);
            std::iter::from_fn(|| receiver.try_recv().ok()).collect::<Vec<_>>()
        };
        let event = |kind| Ok(Event::new(kind).add_path("a".into()));
        let mut told = told;
        assert_eq!(told(Err(notify::Error::generic("no"))), [Change::Unknown]);
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(told(Ok(overflow)), [Change::Unknown]);
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert_eq!(told(event(open)), []);
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(told(event(close)), [Change::Done("a".into())]);
        let data = EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any));
        assert_eq!(told(event(data)), [Change::Writing("a".into())]);
    }
}
