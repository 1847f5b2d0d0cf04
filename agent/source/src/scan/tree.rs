//! What is below a directory at one moment: the files that are manifests, what is not read and why,
//! and where a change has to be watched for.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use agent_model::finding::Severity;

use super::{is_manifest, links::hops};
use crate::{store::Place, watcher::Watched};

/// How many folders may be inside each other. Links that lead to each other are many ways to the same
/// few folders, and this bounds how many.
const MAX_DEPTH: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// All files to read, by place.
    pub(super) files: BTreeMap<Place, PathBuf>,
    /// Folders that are there and cannot be listed, with the reason.
    pub(super) unlisted: BTreeMap<Place, String>,
    /// What is not read.
    pub(super) skipped: BTreeMap<Place, Skipped>,
    /// Links that lead nowhere now. It may be that a folder is just being replaced.
    pub(super) dangling: BTreeMap<Place, String>,
    /// Where changes are watched for.
    pub(super) watched: Watched,
}

/// Why something is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// Too many folders are inside each other.
    Deep,
    /// It is a folder that is inside itself by a link.
    Circle,
    /// It is a link that leads nowhere.
    Nowhere,
    /// It has a manifest's name and is a pipe, a socket or a device.
    NoFile,
}

impl Skipped {
    pub(super) fn severity(self) -> Severity {
        match self {
            Self::Deep => Severity::Warning,
            Self::Circle | Self::Nowhere | Self::NoFile => Severity::Info,
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Deep => {
                format!("not read: it is more than {MAX_DEPTH} folders down; move it up")
            }
            Self::Circle => {
                "not read: the link leads back to a folder that it is in, which is read already"
                    .to_owned()
            }
            Self::Nowhere => "not read: the link leads nowhere".to_owned(),
            Self::NoFile => "not read: it is a pipe, a socket or a device".to_owned(),
        }
    }
}

impl Tree {
    /// Looks at a directory. An error means that it could not be listed.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let mut walk = Walk { root, above: Vec::new(), tree: Self::default() };
        walk.tree.watched.names.extend(hops(root));
        walk.list(root)?;
        Ok(walk.tree)
    }
}

struct Walk<'a> {
    root: &'a Path,
    /// The folders that lead to the one at hand, by device and inode.
    above: Vec<(u64, u64)>,
    tree: Tree,
}

impl Walk<'_> {
    fn list(&mut self, directory: &Path) -> io::Result<()> {
        let metadata = fs::metadata(directory)?;
        let id = (metadata.dev(), metadata.ino());
        if self.above.contains(&id) {
            self.skip(directory, Skipped::Circle);
            return Ok(());
        }
        if self.above.len() > MAX_DEPTH {
            self.skip(directory, Skipped::Deep);
            return Ok(());
        }
        let entries = entries(directory)?;
        self.tree.watched.directories.insert(directory.canonicalize()?);
        self.above.push(id);
        for (path, kind) in entries {
            self.look(path, kind);
        }
        self.above.pop();
        Ok(())
    }

    fn look(&mut self, path: PathBuf, mut kind: fs::FileType) {
        if kind.is_symlink() {
            self.tree.watched.names.extend(hops(&path));
            match fs::metadata(&path) {
                Ok(metadata) => kind = metadata.file_type(),
                // That is trouble with the file, which its reader tells.
                Err(_) if is_manifest(&path) => return self.add(path),
                Err(error) => {
                    if let Some(place) = self.place(&path) {
                        let why = format!("the link leads nowhere: {error}");
                        self.tree.dangling.insert(place, why);
                    }
                    return;
                }
            }
        }
        if kind.is_dir() {
            match self.list(&path) {
                Ok(()) => {}
                // It went between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    if let Some(place) = self.place(&path) {
                        let why = format!("cannot list the directory: {error}");
                        self.tree.unlisted.insert(place, why);
                    }
                }
            }
        } else if is_manifest(&path) {
            if kind.is_file() { self.add(path) } else { self.skip(&path, Skipped::NoFile) }
        }
    }

    fn add(&mut self, path: PathBuf) {
        if let Some(place) = self.place(&path) {
            self.tree.files.insert(place, path);
        }
    }

    fn skip(&mut self, path: &Path, why: Skipped) {
        if let Some(place) = self.place(path) {
            self.tree.skipped.insert(place, why);
        }
    }

    /// The path below the root, as people and the order of places know it.
    fn place(&self, path: &Path) -> Option<Place> {
        path.strip_prefix(self.root).ok().map(|path| path.to_string_lossy().into())
    }
}

/// What is in a directory, hidden names left out, sorted.
fn entries(directory: &Path) -> io::Result<Vec<(PathBuf, fs::FileType)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push((entry.path(), entry.file_type()?));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}
