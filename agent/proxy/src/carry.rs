//! Bytes both ways, as they are.
//!
//! * An end of stream is passed on as one, and the other way stays open (half-close).
//! * What the reader does not take is not read: one buffer a direction is all that is held here.
//! * A buffer exists only while there is something in it or to be read: an idle connection holds
//!   none, however long it stays open. There is no idle timeout.
//!   Copies are plain: `splice(2)` through a pipe of 256 KiB was no faster over loopback (medians of
//!   8.6 and 8.9 Gbit/s on two cores), and would cost four descriptors a connection.
//! * A failure on either side ends both, by way of [`ResetStream`] with a reset.

use std::{future::poll_fn, io, pin::pin, sync::atomic::AtomicU64, task::Poll};

use tokio::task::coop::consume_budget;

use crate::{Failure, record::Tally, reset_stream::ResetStream};

/// The first read after a pause: most messages of request-and-answer protocols fit.
const SMALL: usize = 4 * 1024;

/// Reads of a stream that fills the small buffer. Larger ones gain nothing measurable.
const LARGE: usize = 64 * 1024;

/// Carries until both ends are done.
///
/// Polled by hand: `select!` over `try_join!` doubles the size of the future, and idle connections
/// are to be cheap.
pub(crate) async fn carry(
    client: &ResetStream,
    upstream: &ResetStream,
    tally: &Tally,
) -> Result<(), Failure> {
    let mut sending = pin!(pump(client, upstream, &tally.sent));
    let mut receiving = pin!(pump(upstream, client, &tally.received));
    let mut gone = pin!(client.broken());
    let (mut sent, mut received) = (false, false);
    poll_fn(|context| {
        if !sent && let Poll::Ready(ended) = sending.as_mut().poll(context) {
            ended.map_err(|broken| broken.failure(Failure::Client, Failure::Upstream))?;
            sent = true;
        }
        if !received && let Poll::Ready(ended) = receiving.as_mut().poll(context) {
            ended.map_err(|broken| broken.failure(Failure::Upstream, Failure::Client))?;
            received = true;
        }
        if sent && received {
            return Poll::Ready(Ok(()));
        }
        // Without this, a client that is gone would go unnoticed while its upstream does not read.
        // It comes last, so that what the client sent before is carried as long as it can be.
        gone.as_mut().poll(context).map(|error| Err(Failure::Client(error)))
    })
    .await
}

/// The side that failed.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Broken {
    fn failure(self, source: fn(io::Error) -> Failure, sink: fn(io::Error) -> Failure) -> Failure {
        match self {
            Self::Source(error) => source(error),
            Self::Sink(error) => sink(error),
        }
    }
}

/// One direction, up to and including its end of stream.
async fn pump(source: &ResetStream, sink: &ResetStream, carried: &AtomicU64) -> Result<(), Broken> {
    loop {
        source.readable().await.map_err(Broken::Source)?;
        if let Flow::Ended = drain(source, sink, carried).await? {
            return sink.finish_writing().await.map_err(Broken::Sink);
        }
    }
}

enum Flow {
    Paused,
    Ended,
}

/// Carries what there is to read; the buffer lives no longer.
async fn drain(
    source: &ResetStream,
    sink: &ResetStream,
    carried: &AtomicU64,
) -> Result<Flow, Broken> {
    let mut buffer = Vec::with_capacity(SMALL);
    loop {
        match source.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(Flow::Ended),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Paused),
            Err(error) => return Err(Broken::Source(error)),
        }
        sink.write_all(&buffer, carried).await.map_err(Broken::Sink)?;
        if buffer.len() == buffer.capacity() && buffer.capacity() < LARGE {
            buffer = Vec::with_capacity(LARGE);
        }
        buffer.clear();
        // Reading and writing that never have to wait would keep the thread from everybody else.
        consume_budget().await;
    }
}
