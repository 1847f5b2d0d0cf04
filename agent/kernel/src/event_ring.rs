//! What the programs hand to user space: the ring of events, and what they say about their own
//! trouble. The kernel never waits for a reader: what does not fit in the ring is lost and counted.

use std::{fmt, io, mem::size_of, path::Path};

use agent_abi::Event;
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use super::maps::{Maps, MapsError};

/// Why the ring cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Its map cannot be opened.
    #[error(transparent)]
    Map(#[from] MapsError),
    /// It cannot be waited for.
    #[error("cannot wait for events")]
    Register(#[source] io::Error),
}

/// The reader of the ring. There is one at a time.
pub struct EventRing(AsyncFd<RingBuf<MapData>>);

impl fmt::Debug for EventRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRing").finish_non_exhaustive()
    }
}

impl EventRing {
    /// Opens the ring among the maps that are pinned in a directory. Within a runtime.
    pub fn open(directory: &Path) -> Result<Self, RingError> {
        let ring = Maps::events(directory)?;
        // SAFETY: the ring owns its descriptor and closes it only when it is dropped.
        let ring = unsafe { AsyncFd::register(ring) };
        ring.map(Self).map_err(|error| RingError::Register(error.into()))
    }

    /// Waits until the kernel says that there is something. Most events do not wake the reader.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }

    /// Takes out what there is.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) {
        while let Some(item) = self.0.get_mut().next() {
            if item.len() < size_of::<Event>() {
                continue;
            }
            // SAFETY: plain data, long enough, and read without asking for its alignment.
            take(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
        }
    }
}

/// Hands what the programs say about their own trouble to the log, until that cannot be read.
pub async fn read_log(logger: EbpfLogger<&'static dyn log::Log>) -> io::Result<()> {
    // SAFETY: the logger owns its descriptor and closes it only when it is dropped.
    let mut logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }?;
    loop {
        logger.readable().await?.clear_ready();
        logger.get_mut().flush();
    }
}
