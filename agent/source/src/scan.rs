//! Reads a directory of manifests: flat, and one level of subdirectories. It only reads what
//! changed, and it never takes trouble with reading for an absence of objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    manifest, object,
    store::{Place, Store},
};

/// The largest file that is read: ten times the manifests of a cluster with 10,000 pods.
const MAX_BYTES: u64 = 256 << 20;

/// Reads one directory again and again.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    seen: BTreeMap<Place, Seen>,
    /// Subdirectories that could not be listed.
    unlisted: BTreeSet<Place>,
}

/// What a file held when it was read last.
#[derive(Debug, Default)]
struct Seen {
    /// The hash of its text; `None` when it could not be read.
    text: Option<u64>,
    reader: manifest::Reader,
}

impl Scanner {
    /// For the directory `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root, seen: BTreeMap::new(), unlisted: BTreeSet::new() }
    }

    /// The directory and those in it that are read: where changes are watched for.
    pub fn directories(&self) -> io::Result<Vec<PathBuf>> {
        let inner = entries(&self.root)?.into_iter().filter(|path| path.is_dir());
        Ok(std::iter::once(self.root.clone()).chain(inner).collect())
    }

    /// Whether nothing was read so far.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen.is_empty()
    }

    /// Brings the store up to date. An error means that the directory itself could not be listed;
    /// then nothing has changed.
    pub fn scan(&mut self, store: &mut Store) -> io::Result<()> {
        let files = self.files(store)?;
        let gone: Vec<Place> =
            self.seen.keys().filter(|place| !files.contains_key(*place)).cloned().collect();
        for place in gone {
            self.seen.remove(&place);
            store.retract(&place);
        }
        for (place, path) in files {
            self.read(store, place, &path);
        }
        Ok(())
    }

    /// All files by place. A subdirectory that cannot be listed keeps the files that it had.
    fn files(&mut self, store: &mut Store) -> io::Result<BTreeMap<Place, PathBuf>> {
        let mut files = BTreeMap::new();
        let mut unlisted = BTreeSet::new();
        for path in entries(&self.root)? {
            if !path.is_dir() {
                self.add(&mut files, path);
                continue;
            }
            match entries(&path) {
                Ok(inner) => inner
                    .into_iter()
                    .filter(|path| !path.is_dir())
                    .for_each(|path| self.add(&mut files, path)),
                // It went between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let Some(place) = self.place(&path) else { continue };
                    let why = format!("cannot list the directory: {error}");
                    let within = format!("{place}/");
                    let statement = if self.seen.keys().any(|one| one.starts_with(&within)) {
                        object::unreadable_now(&place, &why)
                    } else {
                        object::unreadable_place(&place, &why)
                    };
                    store.say(place.clone(), statement);
                    unlisted.insert(place);
                }
            }
        }
        for listed in std::mem::replace(&mut self.unlisted, unlisted).difference(&self.unlisted) {
            store.retract(listed);
        }
        for place in self.seen.keys() {
            if place.split_once('/').is_some_and(|(above, _)| self.unlisted.contains(above)) {
                files.insert(place.clone(), self.root.join(&**place));
            }
        }
        Ok(files)
    }

    fn add(&self, files: &mut BTreeMap<Place, PathBuf>, path: PathBuf) {
        if is_manifest(&path)
            && let Some(place) = self.place(&path)
        {
            files.insert(place, path);
        }
    }

    /// The path below the root, as people and the order of places know it.
    fn place(&self, path: &Path) -> Option<Place> {
        path.strip_prefix(&self.root).ok().map(|path| path.to_string_lossy().into())
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

/// What is in a directory, hidden names left out, sorted.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// By its suffix. Editors' temporary files are hidden or have another one: `x.yaml~`, `#x.yaml#`,
/// `x.yaml.swp`, `4913`.
pub(crate) fn is_manifest(path: &Path) -> bool {
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    matches!(suffix, Some("yaml" | "yml" | "json"))
}

/// A file's text; `None` when it is gone or is no file (a pipe would block for ever).
fn text(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        // A dangling link is trouble, not absence: somebody replaces what it points to.
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
