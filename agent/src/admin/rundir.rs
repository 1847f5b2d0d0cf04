//! The run directory: one live agent each, told by a lock on a file in it that the kernel drops
//! when the process ends, however it ends.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const LOCK: &str = "agent.lock";
const SOCKET: &str = "admin.sock";
const CNI_SOCKET: &str = "cni.sock";
const HANDOVER: &str = "handover.sock";
const SANDBOXES: &str = "sandboxes.json";
const OBJECTS: &str = "objects.snapshot";
const NAMES: &str = "names.snapshot";
const DEPARTED: &str = "departed.snapshot";
/// `sun_path` holds 108 bytes with its final zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunDirError {
    /// It is not there and cannot be made.
    #[error(
        "cannot make the run directory {}; run as root, or give --run-dir a directory \
         that you may write to", path.display()
    )]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is there and cannot be written.
    #[error(
        "cannot write to the run directory {}; run as root, or give --run-dir a \
         directory that you may write to", path.display()
    )]
    Write {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another agent lives there.
    #[error(
        "the run directory {} is in use by a running agent (process {pid}); stop that one, take over \
         from it with --take-over, or give this one a --run-dir of its own", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the other one wrote into its lock.
        pid: String,
    },
    /// No socket can have this name.
    #[error(
        "{} is longer than {SOCKET_PATH_MAX} bytes, the most that a socket's name may have; \
         give a shorter --run-dir", path.display()
    )]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
}

/// A run directory that is ours for as long as this lives.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes the directory if it is missing and takes it, or says who has it.
    pub(crate) fn claim(path: &Path) -> Result<Self, RunDirError> {
        let socket = socket(path);
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(RunDirError::TooLong { path: socket });
        }
        let path = path.to_owned();
        if let Err(source) = fs::DirBuilder::new().recursive(true).mode(0o755).create(&path) {
            return Err(RunDirError::Create { path, source });
        }
        let lock = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK));
        let mut lock = match lock {
            Ok(lock) => lock,
            Err(source) => return Err(RunDirError::Write { path, source }),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunDirError::InUse { path, pid: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(RunDirError::Write { path, source }),
        }
        match sign(&mut lock) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(source) => Err(RunDirError::Write { path, source }),
        }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.path)
    }

    /// Where the CNI plugin asks.
    pub(crate) fn cni_socket(&self) -> PathBuf {
        self.path.join(CNI_SOCKET)
    }

    /// Where the next agent asks.
    pub(crate) fn handover(&self) -> PathBuf {
        handover_socket(&self.path)
    }

    /// Where it is kept which pod is where.
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.path.join(SANDBOXES)
    }

    /// Where the objects that are in force are kept for a start without an API server.
    pub(crate) fn objects(&self) -> PathBuf {
        self.path.join(OBJECTS)
    }

    /// Where it is kept what names resolved to, for a start without a name server.
    pub(crate) fn names(&self) -> PathBuf {
        self.path.join(NAMES)
    }

    /// Where it is kept what left the cluster's knowledge a moment ago.
    pub(crate) fn departed(&self) -> PathBuf {
        self.path.join(DEPARTED)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // The lock is still held, so a socket of this name is ours. If it cannot be removed, the
        // next agent replaces it.
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_file(self.cni_socket());
        let _ = fs::remove_file(self.handover());
    }
}

/// The socket of the agent with this run directory.
pub(crate) fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET)
}

/// Where an agent with this run directory is asked to hand over.
pub(crate) fn handover_socket(run_dir: &Path) -> PathBuf {
    run_dir.join(HANDOVER)
}

/// The process that has a run directory, if one lives.
pub(crate) fn holder_of(run_dir: &Path) -> Option<String> {
    let mut lock = File::open(run_dir.join(LOCK)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder(&mut lock)),
        _ => None,
    }
}

fn sign(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn holder(lock: &mut File) -> String {
    let mut pid = String::new();
    match lock.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => pid.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_agent_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = RunDir::claim(&path).unwrap();
        let error = RunDir::claim(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains("--run-dir"), "{error}");
        assert_eq!(holder_of(&path), Some(std::process::id().to_string()));
        drop(first);
        assert_eq!(holder_of(&path), None);
        RunDir::claim(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RunDir::claim(&file.join("run")).unwrap_err();
        assert!(matches!(error, RunDirError::Create { .. }), "{error}");
        assert!(error.to_string().contains("file/run"), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        // Root writes anywhere, so the lock's name is taken by something that no one can open.
        fs::create_dir(dir.path().join(LOCK)).unwrap();
        let error = RunDir::claim(dir.path()).unwrap_err();
        assert!(matches!(error, RunDirError::Write { .. }), "{error}");
    }

    #[test]
    fn a_name_that_no_socket_can_have_is_refused() {
        let error = RunDir::claim(Path::new(&format!("/tmp/{}", "x".repeat(100)))).unwrap_err();
        assert!(matches!(error, RunDirError::TooLong { .. }), "{error}");
    }
}
