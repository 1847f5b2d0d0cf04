//! An authority in a directory, for agents of one machine: those that name the same directory are one
//! mesh. Who may read the directory is the mesh's root, so its key is for its owner alone.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use agent_base::lock::lock;
use futures_util::future::{BoxFuture, FutureExt as _};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::{
    bundle::{Bundle, BundleError},
    leaf::Answer,
    life::{Authority, FetchError, Identities, roots},
    material::{CA_KEY, Files, MakeError, Material, MissingError, NAMES},
    request::{Request, RequestError},
    signer::{Signer, SignerError},
    spiffe::SpiffeId,
};

/// The files of private keys.
const KEYS: [&str; 2] = [CA_KEY, "tls.key"];
/// Who may read a key beside its owner: none.
const OTHERS: u32 = 0o077;

/// Why it signs nothing.
#[derive(Debug, thiserror::Error)]
pub enum CaDirError {
    /// It cannot be made.
    #[error(
        "cannot make --ca-dir {}: {source}; name a directory that does not exist in one that you \
         may write to, or one with a CA's files", path.display()
    )]
    Make {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A key that others can read.
    #[error("{} can be read by other users: chmod 600 it", path.display())]
    Open {
        /// The key.
        path: PathBuf,
    },
    /// Its files do not make a CA.
    #[error("{}: {source}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: MissingError,
    },
    /// Its roots cannot be read.
    #[error("{}: the roots: {source}", path.display())]
    Roots {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// It may not sign.
    #[error("{}: {source}", path.display())]
    Signer {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Box<SignerError>,
    },
    /// What is asked for is wrong.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No root could be made.
    #[error(transparent)]
    Root(#[from] MakeError),
}

/// See the module.
#[derive(Debug)]
pub struct CaDir {
    path: PathBuf,
    ttl: SignedDuration,
    /// The last signer, with the files that it was made of.
    latest: Mutex<Option<(Files, Arc<Signer>)>>,
}

impl CaDir {
    /// In a directory, for certificates that live this long.
    pub fn new(path: PathBuf, ttl: SignedDuration) -> Self {
        Self { path, ttl, latest: Mutex::default() }
    }

    /// The roots, of a directory that is made if it is not there.
    pub fn bundle(&self, now: Timestamp) -> Result<Bundle, CaDirError> {
        let files = self.files(now)?;
        let material = self.material(&files)?;
        let path = || self.path.clone();
        Bundle::from_pem(&material.roots.text)
            .map_err(|source| CaDirError::Roots { path: path(), source })
    }

    /// A certificate for an identity.
    pub fn sign(&self, id: &SpiffeId, pem: &str, now: Timestamp) -> Result<Answer, CaDirError> {
        let request = Request::from_pem(pem)?;
        let signer = self.signer(now)?;
        let leaf = signer.sign(&request, id, self.ttl, now);
        let chain = leaf.map_err(|source| self.refused(source))?.chain;
        Ok(Answer { chain, time: Some(now) })
    }

    /// Has agents trust its roots, as long as the future lives.
    pub async fn follow(self: Arc<Self>, identities: Identities) {
        let read = || async { self.bundle(Timestamp::now()).map_err(|error| error.to_string()) };
        let failed = |error: &str| tracing::error!(error, "the CA's roots cannot be read");
        roots::follow(identities, read, failed).await;
    }

    fn signer(&self, now: Timestamp) -> Result<Arc<Signer>, CaDirError> {
        let files = self.files(now)?;
        let mut latest = lock(&self.latest);
        if let Some((of, signer)) = &*latest
            && *of == files
            && now.saturating_add(self.ttl).is_ok_and(|end| end <= signer.ends())
        {
            return Ok(Arc::clone(signer));
        }
        *latest = None;
        let signer = Signer::open(&self.material(&files)?, self.ttl, now);
        let signer = Arc::new(signer.map_err(|source| self.refused(source))?);
        *latest = Some((files, Arc::clone(&signer)));
        Ok(signer)
    }

    fn refused(&self, source: SignerError) -> CaDirError {
        CaDirError::Signer { path: self.path.clone(), source: Box::new(source) }
    }

    fn material(&self, files: &Files) -> Result<Material, CaDirError> {
        let path = || self.path.clone();
        Material::find(files).map_err(|source| CaDirError::Missing { path: path(), source })
    }

    /// What lies in the directory; a new root if it is not there or empty. Of several agents that find
    /// it missing one makes it, and the others read that one's.
    fn files(&self, now: Timestamp) -> Result<Files, CaDirError> {
        let is_empty = match fs::read_dir(&self.path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(source) => return Err(CaDirError::Read { path: self.path.clone(), source }),
        };
        if is_empty {
            let files = Material::make(now)?;
            put(&self.path, &files)
                .map_err(|source| CaDirError::Make { path: self.path.clone(), source })?;
        }
        read(&self.path)
    }
}

impl Authority for CaDir {
    fn sign(&self, id: SpiffeId, request: String) -> BoxFuture<'_, Result<Answer, FetchError>> {
        let signed = Self::sign(self, &id, &request, Timestamp::now());
        let failed = |error: CaDirError| match error {
            CaDirError::Make { .. } | CaDirError::Read { .. } | CaDirError::Missing { .. } => {
                FetchError::Away(error.to_string())
            }
            error => FetchError::Refused(error.to_string()),
        };
        std::future::ready(signed.map_err(failed)).boxed()
    }
}

/// Reads what a directory has of a CA's files.
fn read(path: &Path) -> Result<Files, CaDirError> {
    let mut files = Files::new();
    for name in NAMES {
        let path = path.join(name);
        let failed = |source| CaDirError::Read { path: path.clone(), source };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(source)),
        };
        if KEYS.contains(&name) && metadata.mode() & OTHERS != 0 {
            return Err(CaDirError::Open { path });
        }
        files.insert(name.to_owned(), Zeroizing::new(fs::read(&path).map_err(failed)?));
    }
    Ok(files)
}

/// Puts a directory with files in its place, unless there is one that has any. It is filled under
/// another name first: no reader finds a key without its certificate, after a crash neither.
fn put(path: &Path, files: &Files) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}-{:016x}", std::process::id(), fastrand::u64(..)));
    let beside = path.with_file_name(beside);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(&beside)?;
    let filled = fill(&beside, files).and_then(|()| fs::rename(&beside, path));
    if filled.is_err() {
        // What stays is in the way of no one.
        let _ = fs::remove_dir_all(&beside);
    }
    match filled {
        // Another agent was faster.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn fill(folder: &Path, files: &Files) -> io::Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text)?;
        file.sync_all()?;
    }
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
