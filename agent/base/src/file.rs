//! A file that is replaced whole or not at all: it is written under another name beside, synced to
//! the disk and renamed, so that a reader, and an agent after a crash, finds the old one or the new
//! one.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// A file that is being written. Removed when it is dropped without [`Draft::commit`].
#[derive(Debug)]
pub struct Draft {
    file: File,
    beside: PathBuf,
    path: PathBuf,
    is_committed: bool,
}

impl Draft {
    /// Begins a file under its name with the extension `draft`.
    pub fn new(path: &Path, mode: u32) -> io::Result<Self> {
        Self::begin(path, path.with_extension("draft"), mode)
    }

    /// Begins a file under another name in the same directory.
    pub fn named(path: &Path, name: &str, mode: u32) -> io::Result<Self> {
        Self::begin(path, path.with_file_name(name), mode)
    }

    fn begin(path: &Path, draft: PathBuf, mode: u32) -> io::Result<Self> {
        // A draft that a crash left may have another mode.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        let draft = Self { file, beside: draft, path: path.to_owned(), is_committed: false };
        // The process's mask takes bits away.
        draft.file.set_permissions(Permissions::from_mode(mode))?;
        Ok(draft)
    }

    /// What is written to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts the file in its place.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.beside, &self.path)?;
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_committed {
            // The next one removes it.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_when_it_is_committed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        fs::write(&path, "before").unwrap();
        fs::write(path.with_extension("draft"), "left by a crash").unwrap();
        let mut draft = Draft::new(&path, 0o600).unwrap();
        draft.file().write_all(b"after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        draft.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(Draft::named(&path, ".other", 0o644).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
    }
}
