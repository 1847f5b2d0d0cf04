//! The access log: one line a request, on the standard output or in a file.
//!
//! ```text
//! proxy ─► wanted? ─► queue ─► a thread of its own ─► Envoy's text or JSON ─► file, standard output
//! ```
//!
//! What serves a request puts a pointer into a bounded queue and goes on. A reader that is slow or a
//! disk that is full holds up the thread alone; lines that find the queue full, or that could not be
//! written, are lost and counted.

pub(crate) mod line;
mod sink;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use agent_model::pod::{self, AccessLog as Wanted};
use thiserror::Error;

use super::{flow_record::FlowRecord, flow_request::FlowRequest};
use line::Format;
use sink::{Sink, Target};

/// Lines that wait to be written. About a kilobyte each.
const QUEUE: usize = 8_192;
/// How long the end of the agent waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// Why there is no access log.
#[derive(Debug, Error)]
pub(crate) enum AccessLogError {
    /// The file.
    #[error("--access-log-file {}: cannot be opened for appending", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The standard output.
    #[error("the access log cannot have the standard output")]
    StandardOutput(#[source] io::Error),
    /// The thread.
    #[error("no thread for the access log")]
    Thread(#[source] io::Error),
}

/// How it is written.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where neither a pod nor its namespace says anything.
    pub(crate) default: Wanted,
    /// How a line looks.
    pub(crate) format: Format,
    /// Where to; none is the standard output.
    pub(crate) file: Option<PathBuf>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct AccessLog {
    default: Wanted,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// A request; nothing is the end of the log.
type Message = Option<Arc<FlowRecord>>;

/// What the thread and the others have in common.
#[derive(Debug, Default)]
struct Shared {
    /// Lines that were not written.
    lost: Arc<AtomicU64>,
    /// Whether the file is to be opened once more.
    reopen: AtomicBool,
}

/// Ends the log. Dropped, it leaves what waits unwritten.
#[derive(Debug)]
pub(crate) struct End {
    queue: SyncSender<Message>,
    done: mpsc::Receiver<()>,
}

impl AccessLog {
    /// Opens it and starts its thread. A file is opened even where no line is wanted yet: an annotation
    /// may want some at any time.
    pub(crate) fn start(settings: Settings) -> Result<(Self, End), AccessLogError> {
        let Settings { default, format, file } = settings;
        let target = match file {
            None => Target::standard_output()?,
            Some(path) => Target::open(path)?,
        };
        let shared = Arc::<Shared>::default();
        let (queue, inbox) = mpsc::sync_channel(QUEUE);
        let (ended, done) = mpsc::channel();
        let mut sink = Sink { target, format, shared: Arc::clone(&shared), is_torn: false };
        let run = move || {
            sink.run(&inbox);
            // The other end may have gone, which is its own business.
            let _ = ended.send(());
        };
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(run)
            .map_err(AccessLogError::Thread)?;
        let end = End { queue: queue.clone(), done };
        Ok((Self { default, queue, shared }, end))
    }

    /// Writes the line of a request, if its pod, or else the default, wants it.
    pub(crate) fn take(&self, record: &Arc<FlowRecord>, of_pod: Option<Wanted>) {
        let Some(request) = &record.request else { return };
        if is_wanted(of_pod.unwrap_or(self.default), request)
            && self.queue.try_send(Some(Arc::clone(record))).is_err()
        {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the file opened once more: a program that rotates logs has moved it.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// Lines that were not written.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.lost)
    }
}

impl End {
    /// Waits a moment until what was logged so far is written.
    pub(crate) fn wait(self) {
        let until = Instant::now() + PATIENCE;
        // The queue is full where the reader is slow.
        while self.queue.try_send(None).is_err() {
            if Instant::now() > until {
                return;
            }
            thread::sleep(PAUSE);
        }
        let _ = self.done.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn is_wanted(wanted: Wanted, request: &FlowRequest) -> bool {
    match wanted {
        Wanted::Off => false,
        Wanted::On => true,
        Wanted::Errors => request.is_error(),
        Wanted::Sampled(share) => fastrand::u32(..pod::ALL) < share,
    }
}

#[cfg(test)]
mod tests;
