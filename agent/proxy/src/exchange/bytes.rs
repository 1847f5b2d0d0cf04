//! Why a message did not get from one connection to another, and what is kept of it for another try.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{http1::Refusal, http2::trailers::Trailers};

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

/// What is kept of a body for another try.
pub(super) struct Kept<'a> {
    /// What was taken so far; `None` once it was too long.
    pub(super) body: &'a mut Option<Vec<u8>>,
    /// Says so to who cannot look at it meanwhile.
    pub(super) is_lost: &'a AtomicBool,
    /// What followed the body, once it was taken whole.
    pub(super) end: &'a mut Option<Trailers>,
}

impl Kept<'_> {
    pub(super) fn keep(&mut self, data: &[u8]) {
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
