//! Bytes of messages from one connection to another: read where there are any, framed anew, written
//! before more is read. A buffer is held only while there is something in it.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::task::coop::consume_budget;

use crate::{
    http1::{Refusal, body::Body, write},
    reset_stream::ResetStream,
};

/// One read: most messages fit.
const SMALL: usize = 8 * 1024;
/// One read of a body that keeps coming.
const LARGE: usize = 64 * 1024;

/// The most of a request's body that is kept for another try.
pub(super) const MOST_KEPT: usize = 64 * 1024;

/// Why a message did not get across.
#[derive(Debug)]
pub(super) enum Broken {
    /// Where it comes from ended or failed.
    Source(io::Error),
    /// It is malformed.
    Malformed(Refusal),
    /// Where it goes failed.
    Sink(io::Error),
}

/// Reads what there is, after waiting for it; 0 is the end. Nothing is lost when it is given up.
pub(super) async fn read_some(from: &ResetStream, inbox: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match try_read(from, inbox) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if inbox.is_empty() {
                    *inbox = Vec::new();
                }
                from.stream().readable().await?;
            }
            read => return read,
        }
    }
}

fn try_read(from: &ResetStream, inbox: &mut Vec<u8>) -> io::Result<usize> {
    let room = if inbox.capacity() > SMALL { LARGE } else { SMALL };
    inbox.reserve(room);
    from.stream().try_read_buf(inbox)
}

/// What is kept of a body for another try.
pub(super) struct Kept<'a> {
    /// What was taken so far; `None` once it was too long.
    pub(super) body: &'a mut Option<Vec<u8>>,
    /// Says so to who cannot look at it meanwhile.
    pub(super) is_lost: &'a AtomicBool,
}

impl Kept<'_> {
    fn keep(&mut self, data: &[u8]) {
        let fits = self.body.as_ref().is_some_and(|all| all.len() + data.len() <= MOST_KEPT);
        match &mut self.body {
            Some(all) if fits => all.extend_from_slice(data),
            _ => {
                *self.body = None;
                self.is_lost.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// A message on its way.
pub(super) struct Pump<'a> {
    pub(super) from: &'a ResetStream,
    /// What was read and not taken yet.
    pub(super) inbox: &'a mut Vec<u8>,
    pub(super) body: &'a mut Body,
    pub(super) to: &'a ResetStream,
    /// Whether it leaves in chunks.
    pub(super) chunked: bool,
    /// What goes before it: the head.
    pub(super) first: Vec<u8>,
    /// Where the body is kept for another try.
    pub(super) kept: Option<Kept<'a>>,
    pub(super) carried: &'a AtomicU64,
}

impl Pump<'_> {
    /// Carries it to its end.
    pub(super) async fn run(mut self) -> Result<(), Broken> {
        let mut out = std::mem::take(&mut self.first);
        loop {
            let ended = self.take(&mut out).map_err(Broken::Malformed)?;
            self.to.write_all(&out, self.carried).await.map_err(Broken::Sink)?;
            if ended {
                return Ok(());
            }
            out.clear();
            let read = match try_read(self.from, self.inbox) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    out = Vec::new();
                    read_some(self.from, self.inbox).await
                }
                read => read,
            };
            if read.map_err(Broken::Source)? == 0 {
                if !self.body.may_end() {
                    return Err(Broken::Source(io::ErrorKind::UnexpectedEof.into()));
                }
                write::end(&mut out, &[], self.chunked);
                return self.to.write_all(&out, self.carried).await.map_err(Broken::Sink);
            }
            // Reading and writing that never have to wait would keep the thread from everybody else.
            consume_budget().await;
        }
    }

    /// Takes what is the message's out of the inbox, before anything of it is written: a pump that is
    /// given up has kept what it took. Says whether the message has ended.
    fn take(&mut self, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        let mut at = 0;
        let ended = loop {
            let piece = self.body.next(&self.inbox[at..])?;
            let data = at + piece.skip..at + piece.skip + piece.data;
            at = data.end;
            write::body(out, &self.inbox[data.clone()], self.chunked);
            if let Some(kept) = &mut self.kept {
                kept.keep(&self.inbox[data]);
            }
            if piece.is_last || piece.skip + piece.data == 0 || at == self.inbox.len() {
                break piece.is_last;
            }
        };
        self.inbox.drain(..at);
        if ended {
            write::end(out, self.body.trailers(), self.chunked);
        }
        Ok(ended)
    }
}
