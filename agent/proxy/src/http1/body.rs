//! Which of the bytes that follow a head are its body's.

use super::{
    Refusal,
    chunked::{Chunked, Piece},
};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// By its length in bytes, at least one.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// There is no message any more: both ends send what they like.
    Tunnel,
}

impl Framing {
    pub(crate) const fn of_length(length: u64) -> Self {
        if length == 0 { Self::Empty } else { Self::Length(length) }
    }
}

/// A body that is being read.
#[derive(Debug)]
pub struct Body(State);

#[derive(Debug)]
enum State {
    Ended,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Body {
    /// The body of a head with this framing.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Empty => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::default()),
            Framing::UntilClose | Framing::Tunnel => State::UntilClose,
        })
    }

    /// Judges the next bytes of the connection. A piece that takes nothing and is not the last asks
    /// for more of them.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        let piece = match &mut self.0 {
            State::Ended => Piece { is_last: true, ..Piece::default() },
            State::Length(left) => {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= data as u64;
                Piece { skip: 0, data, is_last: *left == 0 }
            }
            State::Chunked(chunked) => chunked.next(bytes)?,
            State::UntilClose => Piece { data: bytes.len(), ..Piece::default() },
        };
        if piece.is_last && !matches!(self.0, State::Chunked(_)) {
            self.0 = State::Ended;
        }
        Ok(piece)
    }

    /// Whether all of it was seen.
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            State::Ended => true,
            State::Chunked(chunked) => chunked.has_ended(),
            State::Length(_) | State::UntilClose => false,
        }
    }

    /// Whether it is whole when the connection ends now.
    pub fn may_end(&self) -> bool {
        match &self.0 {
            State::Ended | State::UntilClose => true,
            State::Chunked(chunked) => chunked.has_ended(),
            State::Length(_) => false,
        }
    }

    /// The trailer section as lines with their ends, without the empty one; empty for most.
    pub fn trailers(&self) -> &[u8] {
        match &self.0 {
            State::Chunked(chunked) => chunked.trailers(),
            _ => &[],
        }
    }
}
