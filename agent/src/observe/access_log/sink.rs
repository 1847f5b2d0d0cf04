//! The thread that writes the access log, and the file that it writes to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{AccessLogError, Message, Shared, line::Format};

/// How often it is looked whether the file is still where it was.
const LOOK: Duration = Duration::from_millis(500);
/// Lines that are written at once.
const BATCH: usize = 256;
/// Paths and addresses are for those who may read logs.
const MODE: u32 = 0o640;

/// Where lines go.
#[derive(Debug)]
pub(super) enum Target {
    StandardOutput(File),
    File { path: PathBuf, file: File, looked: Instant },
}

impl Target {
    /// The standard output, without the standard library's buffer: a batch is one write.
    pub(super) fn standard_output() -> Result<Self, AccessLogError> {
        let own = io::stdout().as_fd().try_clone_to_owned();
        own.map(|own| Self::StandardOutput(own.into())).map_err(AccessLogError::StandardOutput)
    }

    pub(super) fn open(path: PathBuf) -> Result<Self, AccessLogError> {
        match open(&path) {
            Ok(file) => Ok(Self::File { path, file, looked: Instant::now() }),
            Err(source) => Err(AccessLogError::Open { path, source }),
        }
    }

    fn file(&self) -> &File {
        match self {
            Self::StandardOutput(file) | Self::File { file, .. } => file,
        }
    }

    /// Opens the file once more where it was asked for, or where it was moved or removed.
    fn renew(&mut self, is_asked: bool) {
        let Self::File { path, file, looked } = self else { return };
        if !is_asked && looked.elapsed() < LOOK {
            return;
        }
        *looked = Instant::now();
        if !is_asked && is_at(file, path) {
            return;
        }
        match open(path) {
            Ok(new) => *file = new,
            // Lines still go to the old one.
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the access log was not opened again");
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let own = file.metadata().map(of).ok();
    own.is_some() && fs::metadata(path).map(of).ok() == own
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) target: Target,
    pub(super) format: Format,
    pub(super) shared: Arc<Shared>,
    /// Whether the last line was written in part.
    pub(super) is_torn: bool,
}

impl Sink {
    /// Writes until no one logs any more.
    pub(super) fn run(&mut self, inbox: &Receiver<Message>) {
        let mut batch = Vec::new();
        let mut warned: Option<Instant> = None;
        loop {
            let first = inbox.recv_timeout(LOOK);
            self.target.renew(self.shared.reopen.swap(false, Ordering::Relaxed));
            let first = match first {
                Ok(Some(first)) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
            };
            batch.clear();
            let mut is_last = false;
            let mut next = Some(first);
            let mut count = 0;
            while let Some(record) = next.take() {
                self.format.write(&record, &mut batch);
                count += 1;
                if count < BATCH
                    && let Ok(message) = inbox.try_recv()
                {
                    is_last = message.is_none();
                    next = message;
                }
            }
            let outcome = self.put(&batch);
            if is_last {
                return;
            }
            let Err((lost, error)) = outcome else { continue };
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
            if warned.is_none_or(|at| at.elapsed() > Duration::from_mins(1)) {
                warned = Some(Instant::now());
                tracing::warn!(%error, "lines of the access log are lost");
            }
        }
    }

    /// Writes lines; an error says how many were not written. What follows a line that was cut begins
    /// on a line of its own.
    fn put(&mut self, batch: &[u8]) -> Result<(), (u64, io::Error)> {
        let mut file = self.target.file();
        if self.is_torn {
            file.write_all(b"\n").map_err(|error| (lines(batch), error))?;
            self.is_torn = false;
        }
        let mut done = 0;
        while done < batch.len() {
            match file.write(&batch[done..]) {
                Ok(written @ 1..) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed => {
                    let error = failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    let (written, left) = batch.split_at(done);
                    self.is_torn = !written.is_empty() && !written.ends_with(b"\n");
                    return Err((lines(left), error));
                }
            }
        }
        Ok(())
    }
}

fn lines(text: &[u8]) -> u64 {
    text.split(|byte| *byte == b'\n').skip(1).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_is_not_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let file = open(&path).unwrap();
        assert!(is_at(&file, &path));
        fs::rename(&path, directory.path().join("access.log.1")).unwrap();
        assert!(!is_at(&file, &path));
        fs::write(&path, "another").unwrap();
        assert!(!is_at(&file, &path));
    }
}
