//! The objects in force on disk, for a start without an API server.
//!
//! A line of JSON says what follows; then each object is a line of JSON. The first line holds the
//! length and the SHA-256 of the rest: a file that is cut or changed is not used at all. The file
//! is for root only, since pods carry secrets in their environment.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_model::resource::{Object, ObjectKey, Objects};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep},
};

const FORMAT: &str = "sekisho-objects";
/// Another layout gets another number, and an agent does not use a number that it does not know.
const VERSION: u32 = 1;
/// How long changes may wait to be written.
const LEAST: Duration = Duration::from_secs(1);
/// A write that takes long is not begun again before this many times as long: 5% of a processor.
const REST: u32 = 20;

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
pub(super) enum SavedError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// Its first line or an object is no JSON.
    #[error("it is not what an agent writes")]
    Json(#[source] serde_json::Error),
    /// Another format.
    #[error("it has the format {format} {version}, and this agent reads {FORMAT} {VERSION}")]
    Format { format: String, version: u32 },
    /// Another node's.
    #[error("it is for the node {node}")]
    Node { node: String },
    /// It was cut or changed.
    #[error("its checksum is wrong: it is cut off or was changed")]
    Checksum,
}

/// The text of each object whose type cannot be written back.
pub(super) type Texts = Arc<BTreeMap<ObjectKey, Arc<str>>>;

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) objects: Arc<Objects>,
    pub(super) texts: Texts,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) written: Timestamp,
    pub(super) objects: Vec<Value>,
}

/// Reads the file; `None` when there is none.
pub(super) fn read(path: &Path, node: &str) -> Result<Option<Saved>, SavedError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SavedError::Read(error)),
    };
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(SavedError::Checksum)?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let head: Head = serde_json::from_slice(head).map_err(SavedError::Json)?;
    if head.format != FORMAT || head.version != VERSION {
        return Err(SavedError::Format { format: head.format, version: head.version });
    }
    if head.node != node {
        return Err(SavedError::Node { node: head.node });
    }
    if head.bytes != body.len() as u64 || head.sha256 != sum(body) {
        return Err(SavedError::Checksum);
    }
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let objects = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
    Ok(Some(Saved { written: head.written, objects: objects.map_err(SavedError::Json)? }))
}

/// Writes the file beside and renames it into place, so that a reader never sees half of it.
pub(super) fn write(path: &Path, node: &str, contents: &Contents) -> io::Result<()> {
    let body = body(contents)?;
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        node: node.to_owned(),
        written: Timestamp::now(),
        bytes: body.len() as u64,
        sha256: sum(&body),
    };
    let draft = path.with_extension("draft");
    // A draft that a crash left may have another mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    serde_json::to_writer(&mut file, &head)?;
    file.write_all(b"\n")?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

fn body(contents: &Contents) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    for (key, object) in contents.objects.iter() {
        match object {
            Object::Namespace(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::Pod(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::Service(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::Endpoints(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::EndpointSlice(object) => serde_json::to_writer(&mut body, &**object)?,
            _ => match contents.texts.get(key) {
                Some(text) => body.extend(text.as_bytes()),
                None => return Err(io::Error::other(format!("the text of {key} is not known"))),
            },
        }
        body.push(b'\n');
    }
    Ok(body)
}

fn sum(body: &[u8]) -> String {
    use std::fmt::Write as _;
    digest(&SHA256, body).as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes whatever comes, not too often, until nothing comes any more.
pub(super) async fn keep(path: PathBuf, node: Arc<str>, mut contents: watch::Receiver<Contents>) {
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
                tracing::warn!(target: "config", path = shown, %error, "objects are not saved");
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        rest = LEAST.max(start.elapsed() * REST);
    }
}

#[cfg(test)]
mod tests;
