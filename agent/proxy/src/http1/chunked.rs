//! The chunked coding (RFC 9112, section 7.1), one byte of framing at a time, so that it makes no
//! difference where the bytes were split on their way.
//!
//! Stricter than the RFC where servers differ: no white space around a size, no more than sixteen
//! digits, no line that ends with LF alone. Extensions are passed over and never passed on.

use super::Refusal;

/// What to do with the next bytes of a body: pass over `skip` of them, then take `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of framing.
    pub skip: usize,
    /// Bytes of the body that follow them.
    pub data: usize,
    /// Whether the body ends with this piece.
    pub is_last: bool,
}

/// Bytes of the extensions of one body: nothing uses them, and a sender could hide a flood there.
const MOST_EXTENSION: usize = 16 * 1024;
/// Bytes of a trailer section.
const MOST_TRAILER: usize = 8 * 1024;
/// Fields of a trailer section.
const MOST_TRAILER_FIELDS: usize = 64;

/// A chunked body that is being read.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    /// Of the chunk: its size while that is read, then what is left of it.
    left: u64,
    extension: usize,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No digit of the size has come.
    #[default]
    Start,
    /// That many have.
    Size(u8),
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line of the trailer section.
    Trailer,
    TrailerLine,
    TrailerLf,
    EndLf,
    Ended,
}

impl Chunked {
    /// Judges the next bytes: see [`super::body::Body::next`].
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        let mut skip = 0;
        while self.state != State::Ended {
            if self.state == State::Data {
                let rest = bytes.len() - skip;
                let data = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest);
                self.left -= data as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Piece { skip, data, is_last: false });
            }
            let Some(byte) = bytes.get(skip) else { break };
            self.state = self.follow(*byte)?;
            skip += 1;
        }
        Ok(Piece { skip, data: 0, is_last: self.state == State::Ended })
    }

    fn follow(&mut self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Start, _) => self.digit(0, byte),
            (State::Size(_) | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Size(_), b';') => Ok(State::Extension),
            (State::Size(digits), _) => self.digit(digits, byte),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension += 1;
                if self.extension > MOST_EXTENSION {
                    return Err(Refusal::Chunk);
                }
                Ok(State::Extension)
            }
            (State::SizeLf, b'\n') if self.left == 0 => Ok(State::Trailer),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Start),
            (State::Trailer, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => self.end(),
            (State::Trailer | State::TrailerLine, _) => self.trailer(byte),
            (State::TrailerLf, b'\n') => {
                self.trailers.push(b'\n');
                Ok(State::Trailer)
            }
            (State::TrailerLf | State::EndLf, _) => Err(Refusal::Trailer),
            _ => Err(Refusal::Chunk),
        }
    }

    /// Sixteen digits never overflow.
    fn digit(&mut self, digits: u8, byte: u8) -> Result<State, Refusal> {
        let digit = char::from(byte).to_digit(16).filter(|_| digits < 16);
        let digit = digit.ok_or(Refusal::Chunk)?;
        let before = if digits == 0 { 0 } else { self.left };
        self.left = before << 4 | u64::from(digit);
        Ok(State::Size(digits + 1))
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        if byte == b'\n' || self.trailers.len() >= MOST_TRAILER {
            return Err(Refusal::Trailer);
        }
        self.trailers.push(byte);
        Ok(if byte == b'\r' { State::TrailerLf } else { State::TrailerLine })
    }

    /// A trailer section is read as fields are, as a whole.
    fn end(&mut self) -> Result<State, Refusal> {
        if !self.trailers.is_empty() {
            let mut table = [httparse::EMPTY_HEADER; MOST_TRAILER_FIELDS];
            let whole = [self.trailers.as_slice(), b"\r\n"].concat();
            let parsed = httparse::parse_headers(&whole, &mut table);
            if !matches!(parsed, Ok(httparse::Status::Complete((length, _))) if length == whole.len())
            {
                return Err(Refusal::Trailer);
            }
        }
        Ok(State::Ended)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}
