//! Files that an agent writes for its successor: a line of JSON that says what follows, and that.
//!
//! The first line holds the length and the SHA-256 of the rest: a file that is cut or changed is not
//! used at all. The files are for root only.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep},
};

use crate::file::Draft;

/// How long changes may wait to be written.
const LEAST: Duration = Duration::from_secs(1);
/// A write that takes long is not begun again before this many times as long: 5% of a processor.
const REST: u32 = 20;

/// Room for the first line, which is written last; spaces fill it up. A node's name has 253
/// characters at the most, all else in it 200.
const HEAD: usize = 512;

/// A kind of file.
#[derive(Debug)]
pub struct Seal {
    /// What the file calls itself.
    pub format: &'static str,
    /// Another layout gets another number, and an agent does not use a number that it does not know.
    pub version: u32,
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
pub enum SealError {
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
    pub fn read(&self, path: &Path, node: &str) -> Result<Option<(Timestamp, Vec<u8>)>, SealError> {
        let Some((written, mut file)) = self.open(path, node)? else { return Ok(None) };
        let mut body = Vec::new();
        file.read_to_end(&mut body).map_err(SealError::Read)?;
        Ok(Some((written, body)))
    }

    /// The same, to be read bit by bit: the file stands at the begin of what it holds.
    pub fn open(
        &self,
        path: &Path,
        node: &str,
    ) -> Result<Option<(Timestamp, BufReader<File>)>, SealError> {
        let mut file = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SealError::Read(error)),
        };
        let mut first = Vec::new();
        let most = HEAD.max(1 << 16) as u64;
        (&mut file).take(most).read_until(b'\n', &mut first).map_err(SealError::Read)?;
        if first.last() != Some(&b'\n') {
            return Err(SealError::Checksum);
        }
        let head: Head = serde_json::from_slice(&first)?;
        if head.format != self.format || head.version != self.version {
            let reads = format!("{} {}", self.format, self.version);
            return Err(SealError::Format { format: head.format, version: head.version, reads });
        }
        if head.node != node {
            return Err(SealError::Node { node: head.node });
        }
        let mut sum = Sum::over(io::sink());
        io::copy(&mut file, &mut sum).map_err(SealError::Read)?;
        if (head.bytes, head.sha256) != sum.finish() {
            return Err(SealError::Checksum);
        }
        file.seek(SeekFrom::Start(first.len() as u64)).map_err(SealError::Read)?;
        Ok(Some((head.written, file)))
    }

    /// What the file holds, of which each line is one in JSON; nothing when there is none.
    pub fn read_lines<T: DeserializeOwned>(
        &self,
        path: &Path,
        node: &str,
    ) -> Result<Vec<T>, SealError> {
        let Some((_, body)) = self.read(path, node)? else { return Ok(Vec::new()) };
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
    }

    /// Writes a file of such lines.
    pub fn write_lines<T: Serialize>(
        &self,
        path: &Path,
        node: &str,
        lines: &[T],
    ) -> io::Result<()> {
        let mut body = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut body, line)?;
            body.push(b'\n');
        }
        self.write(path, node, &body)
    }

    /// Writes the file beside and renames it into place, so that a reader never sees half of it.
    pub fn write(&self, path: &Path, node: &str, body: &[u8]) -> io::Result<()> {
        self.write_with(path, node, |file| file.write_all(body))
    }

    /// The same of what is too much to be in memory at once.
    pub fn write_with(
        &self,
        path: &Path,
        node: &str,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut draft = Draft::new(path, 0o600)?;
        let file = draft.file();
        file.write_all(&[b' '; HEAD])?;
        let mut written = Sum::over(BufWriter::new(&mut *file));
        body(&mut written)?;
        written.flush()?;
        let (bytes, sha256) = written.finish();
        let head = Head {
            format: self.format.to_owned(),
            version: self.version,
            node: node.to_owned(),
            written: Timestamp::now(),
            bytes,
            sha256,
        };
        let mut first = serde_json::to_vec(&head)?;
        if first.len() >= HEAD {
            return Err(io::Error::other("the node's name is too long for the first line"));
        }
        first.resize(HEAD - 1, b' ');
        first.push(b'\n');
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&first)?;
        draft.commit()
    }
}

/// Counts and sums up what is written through it.
struct Sum<W> {
    to: W,
    bytes: u64,
    context: Context,
}

impl<W> Sum<W> {
    fn over(to: W) -> Self {
        Self { to, bytes: 0, context: Context::new(&SHA256) }
    }

    fn finish(self) -> (u64, String) {
        use std::fmt::Write as _;
        let sum = self.context.finish();
        let text = sum.as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        (self.bytes, text)
    }
}

impl<W: Write> Write for Sum<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.context.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes whatever comes by `write`, not too often, until nothing comes any more.
pub async fn keep<T: Clone + Send + Sync + 'static>(
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
