//! A body from where it comes to where it goes, of either version of HTTP: pieces with an end and, if
//! there are any, trailers.
//!
//! Back-pressure holds both ways: HTTP/1 is not read before what was read is written, and HTTP/2's
//! window is given back only then.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{Reason, RecvStream, SendStream};

use super::{
    bytes::{Broken, Kept},
    failed::Failed,
};
use crate::{
    http1::{body::Body, write},
    http2::{as_io, trailers::Trailers},
    reset_stream::ResetStream,
};

/// Where a body comes from.
pub(super) enum Source<'a> {
    Http1 { from: &'a ResetStream, inbox: &'a mut Vec<u8>, body: Body },
    Http2 { from: RecvStream, taken: usize },
}

/// What comes next of a body.
pub(super) enum Next {
    Data(Bytes),
    End(Trailers),
}

impl Source<'_> {
    /// What comes next, after waiting for it. Nothing is lost when it is given up.
    pub(super) async fn next(&mut self) -> Result<Next, Broken> {
        match self {
            Self::Http1 { from, inbox, body } => next_http1(from, inbox, body).await,
            Self::Http2 { from, taken } => {
                // What was taken before has been written by now.
                let before = std::mem::take(taken);
                if before > 0 && from.flow_control().release_capacity(before).is_err() {
                    return Err(Broken::Source(io::ErrorKind::BrokenPipe.into()));
                }
                match from.data().await {
                    Some(Ok(data)) => {
                        *taken = data.len();
                        Ok(Next::Data(data))
                    }
                    Some(Err(error)) => Err(Broken::Source(as_io(error))),
                    None => {
                        let end =
                            from.trailers().await.map_err(|error| Broken::Source(as_io(error)))?;
                        Ok(Next::End(end.map(Trailers::Fields).unwrap_or_default()))
                    }
                }
            }
        }
    }

    /// What was read of it and not taken.
    pub(super) fn take_read(&mut self) -> Vec<u8> {
        match self {
            Self::Http1 { inbox, .. } => std::mem::take(inbox),
            Self::Http2 { .. } => Vec::new(),
        }
    }
}

async fn next_http1(
    from: &ResetStream,
    inbox: &mut Vec<u8>,
    body: &mut Body,
) -> Result<Next, Broken> {
    loop {
        let piece = body.next(inbox).map_err(Broken::Malformed)?;
        let data = piece.skip..piece.skip + piece.data;
        let taken = Bytes::copy_from_slice(&inbox[data.clone()]);
        inbox.drain(..data.end);
        if !taken.is_empty() {
            return Ok(Next::Data(taken));
        }
        if piece.is_last {
            return Ok(Next::End(Trailers::Lines(body.trailers().to_vec())));
        }
        if piece.skip == 0 && from.read_some(inbox).await.map_err(Broken::Source)? == 0 {
            if body.may_end() {
                return Ok(Next::End(Trailers::default()));
            }
            return Err(Broken::Source(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Where a body goes.
pub(super) enum Sink<'a> {
    Http1 {
        to: &'a ResetStream,
        /// Whether it leaves in chunks.
        chunked: bool,
        /// What was not written yet: the head.
        out: Vec<u8>,
        carried: &'a AtomicU64,
    },
    Http2 {
        to: SendStream<Bytes>,
        carried: &'a AtomicU64,
    },
    /// There is none.
    Nowhere,
}

impl Sink<'_> {
    /// Writes a piece.
    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), Broken> {
        match self {
            Self::Http1 { to, chunked, out, carried } => {
                write::body(out, &data, *chunked);
                let written = to.write_all(out, carried).await;
                out.clear();
                written.map_err(Broken::Sink)
            }
            Self::Http2 { to, carried } => send(to, data, carried).await.map_err(Broken::Sink),
            Self::Nowhere => Ok(()),
        }
    }

    /// Writes what is left where nothing follows at once.
    pub(super) async fn flush(&mut self) -> Result<(), Broken> {
        match self {
            Self::Http1 { to, out, carried, .. } if !out.is_empty() => {
                let written = to.write_all(out, carried).await;
                out.clear();
                written.map_err(Broken::Sink)
            }
            _ => Ok(()),
        }
    }

    /// Writes the end.
    pub(super) async fn end(&mut self, trailers: Trailers) -> Result<(), Broken> {
        match self {
            Self::Http1 { to, chunked, out, carried } => {
                write::end(out, &trailers.lines(), *chunked);
                let written = to.write_all(out, carried).await;
                out.clear();
                written.map_err(Broken::Sink)
            }
            Self::Http2 { to, .. } => {
                let fields = trailers.fields();
                let sent = if fields.is_empty() {
                    to.send_data(Bytes::new(), true)
                } else {
                    to.send_trailers(fields)
                };
                sent.map_err(|error| Broken::Sink(as_io(error)))
            }
            Self::Nowhere => Ok(()),
        }
    }

    /// Waits until the other end wants no more of it.
    pub(super) async fn refused(&mut self) -> io::Error {
        match self {
            Self::Http1 { to, .. } => to.broken().await,
            Self::Http2 { to, .. } => {
                let reason = poll_fn(|context| to.poll_reset(context)).await;
                reason.map_or_else(as_io, |reason| io::Error::other(h2::Error::from(reason)))
            }
            Self::Nowhere => std::future::pending().await,
        }
    }

    /// Breaks it off: its reader must not take it for whole.
    pub(super) fn cut(&mut self, failed: &Failed) {
        let Self::Http2 { to, .. } = self else { return };
        to.send_reset(match failed {
            Failed::Client(_) => Reason::CANCEL,
            _ => Reason::INTERNAL_ERROR,
        });
    }
}

/// Writes a piece as the other end's window allows.
async fn send(to: &mut SendStream<Bytes>, mut data: Bytes, carried: &AtomicU64) -> io::Result<()> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = poll_fn(|context| to.poll_capacity(context)).await;
        let room = room.unwrap_or_else(|| Err(Reason::CANCEL.into())).map_err(as_io)?;
        let piece = data.split_to(room.min(data.len()));
        carried.fetch_add(piece.len() as u64, Ordering::Relaxed);
        to.send_data(piece, false).map_err(as_io)?;
    }
    Ok(())
}

/// Carries a body to its end.
pub(super) async fn flow(
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    mut kept: Option<Kept<'_>>,
) -> Result<(), Broken> {
    loop {
        let next = next_or_flush(source, sink).await?;
        match next {
            // It is kept before it is written: what is given up meanwhile is not lost.
            Next::Data(data) => {
                if let Some(kept) = &mut kept {
                    kept.keep(&data);
                }
                sink.data(data).await?;
            }
            Next::End(trailers) => {
                if let Some(kept) = kept {
                    *kept.end = Some(trailers.clone());
                }
                return sink.end(trailers).await;
            }
        }
    }
}

/// What comes next of a body. What was written before is not held back while that is awaited: a head's
/// body may be long in coming.
async fn next_or_flush(source: &mut Source<'_>, sink: &mut Sink<'_>) -> Result<Next, Broken> {
    let mut next = pin!(source.next());
    if let Some(next) = next.as_mut().now_or_never() {
        return next;
    }
    sink.flush().await?;
    tokio::select! {
        next = next => next,
        error = sink.refused() => Err(Broken::Sink(error)),
    }
}
