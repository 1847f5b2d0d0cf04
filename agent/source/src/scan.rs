//! Reads a directory of manifests with all its subdirectories. It only reads what changed, it never
//! takes trouble with reading for an absence of objects, and it says what it leaves out.

mod links;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use tree::{Skipped, Tree};

use super::{
    manifest, object,
    store::{Place, Store},
    watcher::Watched,
};
use crate::{code, note::Note, statement::Statement};

/// The largest file that is read: ten times the manifests of a cluster with 10,000 pods.
const MAX_BYTES: u64 = 256 << 20;

/// Reads one directory again and again.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    seen: BTreeMap<Place, Seen>,
    /// Folders of which something was said, and what is not read.
    noted: BTreeSet<Place>,
}

/// What a file held when it was read last.
#[derive(Debug, Default)]
struct Seen {
    /// The hash of its text; `None` when it could not be read.
    text: Option<u64>,
    reader: manifest::Reader,
}

/// What there is to read.
struct Found {
    files: BTreeMap<Place, PathBuf>,
    /// Files of folders that cannot be listed: what they said stays.
    kept: BTreeSet<Place>,
}

impl Scanner {
    /// For the directory `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root, seen: BTreeMap::new(), noted: BTreeSet::new() }
    }

    /// Where changes are to be watched for.
    pub(crate) fn watched(&self) -> io::Result<Watched> {
        Tree::of(&self.root).map(|tree| tree.watched)
    }

    /// Whether nothing was read so far.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen.is_empty()
    }

    /// Brings the store up to date. An error means that the directory itself could not be listed;
    /// then nothing has changed.
    pub fn scan(&mut self, store: &mut Store) -> io::Result<()> {
        let Found { files, kept } = self.files(store)?;
        let stays = |place: &Place| files.contains_key(place) || kept.contains(place);
        let gone: Vec<Place> = self.seen.keys().filter(|place| !stays(place)).cloned().collect();
        for place in gone {
            self.seen.remove(&place);
            if !self.noted.contains(&place) {
                store.retract(&place);
            }
        }
        for (place, path) in files {
            self.read(store, place, &path);
        }
        Ok(())
    }

    /// All files by place. A subdirectory that cannot be listed keeps the files that it had.
    fn files(&mut self, store: &mut Store) -> io::Result<Found> {
        let Tree { files, mut unlisted, skipped, dangling, .. } = Tree::of(&self.root)?;
        // A link to a folder is trouble once there was a folder: it is being replaced.
        let below = |place: &Place, above: &Place| {
            place.strip_prefix(&**above).is_some_and(|rest| rest.starts_with('/'))
        };
        let had = |above: &Place| self.seen.keys().any(|place| below(place, above));
        let (lost, nowhere): (BTreeMap<_, _>, _) =
            dangling.into_iter().partition(|(above, _)| had(above));
        unlisted.extend(lost);
        let (mut said, mut kept) = (BTreeMap::new(), BTreeSet::new());
        for (place, why) in &unlisted {
            let statement = if had(place) {
                object::unreadable_now(place, why)
            } else {
                object::unreadable_place(place, why)
            };
            said.insert(place.clone(), statement);
            kept.extend(self.seen.keys().filter(|known| below(known, place)).cloned());
        }
        let nowhere = nowhere.into_keys().map(|place| (place, Skipped::Nowhere));
        for (place, why) in skipped.into_iter().chain(nowhere) {
            let note = Note::loose(why.severity(), code::SKIPPED, why.words());
            let loose = vec![note.at(place.to_string())];
            said.insert(place, Statement { loose, ..Statement::default() });
        }
        let noted = said.keys().cloned().collect();
        for before in std::mem::replace(&mut self.noted, noted).difference(&self.noted) {
            store.retract(before);
        }
        for (place, statement) in said {
            store.say(place, statement);
        }
        Ok(Found { files, kept })
    }

    fn read(&mut self, store: &mut Store, place: Place, path: &Path) {
        let text = match text(path) {
            Ok(None) => {
                self.seen.remove(&place);
                store.retract(&place);
                return;
            }
            Ok(Some(text)) => Ok(text),
            Err(error) => Err(format!("cannot read the file: {error}")),
        };
        let seen = self.seen.entry(place.clone()).or_default();
        let hash = text.as_ref().ok().map(|text| manifest::hash(text));
        if hash.is_some() && hash == seen.text {
            return;
        }
        seen.text = hash;
        let statement = match text {
            Ok(text) => seen.reader.read(&place, &text),
            Err(why) => object::unreadable_place(&place, &why),
        };
        store.say(place, statement);
    }
}

/// By its suffix. Editors' temporary files are hidden or have another one: `x.yaml~`, `#x.yaml#`,
/// `x.yaml.swp`, `4913`.
pub(crate) fn is_manifest(path: &Path) -> bool {
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    let is = |one: &str| suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(one));
    ["yaml", "yml", "json"].into_iter().any(is)
}

/// A file's text; `None` when it is gone or is no file (a pipe would block for ever).
fn text(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        // A dangling link is trouble, not absence: what it points to is being replaced.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() =>
        {
            return Ok(None);
        }
        other => other?,
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MB", MAX_BYTES >> 20)));
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
