//! SIGTERM and SIGINT. As the first process of a container a signal has no effect that we do not give it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both; one that comes between two calls of [`Signals::next`] is not lost.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they are waited for.
    pub(crate) fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for one.
pub(crate) async fn until_signal() -> io::Result<()> {
    Signals::new()?.next().await;
    Ok(())
}
