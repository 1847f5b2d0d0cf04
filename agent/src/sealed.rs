//! Files that an agent writes for its successor: a line of JSON that says what follows, and that.
//!
//! The first line holds the length and the SHA-256 of the rest: a file that is cut or changed is not
//! used at all. The files are for root only.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep},
};

/// How long changes may wait to be written.
const LEAST: Duration = Duration::from_secs(1);
/// A write that takes long is not begun again before this many times as long: 5% of a processor.
const REST: u32 = 20;

/// A kind of file.
#[derive(Debug)]
pub(crate) struct Seal {
    /// What the file calls itself.
    pub(crate) format: &'static str,
    /// Another layout gets another number, and an agent does not use a number that it does not know.
    pub(crate) version: u32,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    node: String,
    written: Timestamp,
    bytes: u64,
    sha256: String,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// Its first line is no JSON.
    #[error("it is not what an agent writes")]
    Json(#[from] serde_json::Error),
    /// Another format.
    #[error("it has the format {format} {version}, and this agent reads {reads}")]
    Format {
        /// What it calls itself.
        format: String,
        /// See `format`.
        version: u32,
        /// What is read.
        reads: String,
    },
    /// Another node's.
    #[error("it is for the node {node}")]
    Node {
        /// That node.
        node: String,
    },
    /// It was cut or changed.
    #[error("its checksum is wrong: it is cut off or was changed")]
    Checksum,
}

impl Seal {
    /// When the file was written and what it holds; `None` when there is none.
    pub(crate) fn read(
        &self,
        path: &Path,
        node: &str,
    ) -> Result<Option<(Timestamp, Vec<u8>)>, SealError> {
        let mut bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SealError::Read(error)),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(SealError::Checksum)?;
        let body = bytes.split_off(end + 1);
        let head: Head = serde_json::from_slice(&bytes)?;
        if head.format != self.format || head.version != self.version {
            let reads = format!("{} {}", self.format, self.version);
            return Err(SealError::Format { format: head.format, version: head.version, reads });
        }
        if head.node != node {
            return Err(SealError::Node { node: head.node });
        }
        if head.bytes != body.len() as u64 || head.sha256 != sum(&body) {
            return Err(SealError::Checksum);
        }
        Ok(Some((head.written, body)))
    }

    /// Writes the file beside and renames it into place, so that a reader never sees half of it.
    pub(crate) fn write(&self, path: &Path, node: &str, body: &[u8]) -> io::Result<()> {
        let head = Head {
            format: self.format.to_owned(),
            version: self.version,
            node: node.to_owned(),
            written: Timestamp::now(),
            bytes: body.len() as u64,
            sha256: sum(body),
        };
        let draft = path.with_extension("draft");
        // A draft that a crash left may have another mode.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        serde_json::to_writer(&mut file, &head)?;
        file.write_all(b"\n")?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }
}

fn sum(body: &[u8]) -> String {
    use std::fmt::Write as _;
    digest(&SHA256, body).as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes whatever comes by `write`, not too often, until nothing comes any more.
pub(crate) async fn keep<T: Clone + Send + Sync + 'static>(
    path: PathBuf,
    node: Arc<str>,
    mut contents: watch::Receiver<T>,
    write: impl Fn(&Path, &str, &T) -> io::Result<()> + Copy + Send + 'static,
) {
    let mut rest = LEAST;
    while contents.changed().await.is_ok() {
        sleep(rest).await;
        let latest = contents.borrow_and_update().clone();
        let (path, node) = (path.clone(), Arc::clone(&node));
        let start = Instant::now();
        let shown = path.display().to_string();
        match task::spawn_blocking(move || write(&path, &node, &latest)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(target: "config", path = shown, %error, "the file is not written");
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        rest = LEAST.max(start.elapsed() * REST);
    }
}
