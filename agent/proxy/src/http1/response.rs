//! A response's head.

use super::{
    Refusal,
    body::Framing,
    fields::{self, Stated},
    head::{self, Field, FirstLine, Limits, Role, Span, Version},
};

/// What of its request decides how a response is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `HEAD`: a response has no body.
    Head,
    /// `CONNECT`: after a 2xx the connection is a tunnel.
    Connect,
    /// Any other method, and whether it asked for an upgrade: a 101 is one then.
    Other {
        /// Whether an upgrade was asked for.
        upgrade: bool,
    },
}

/// A response's head, by places in the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase, as it came.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// All fields, in their order.
    pub fields: Vec<Field>,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the connection may carry another request afterwards.
    pub persists: bool,
    /// Bytes of the head, its empty line included.
    pub length: usize,
}

impl Response {
    /// Whether the final answer is still to come.
    pub const fn is_interim(&self) -> bool {
        matches!(self.status, 100..=199) && !matches!(self.framing, Framing::Tunnel)
    }
}

/// Reads a response's head from the bytes of a connection; `None` while its end has not come.
pub fn read(bytes: &[u8], asked: Asked, limits: &Limits) -> Result<Option<Response>, Refusal> {
    let Some(mut lines) = head::response(bytes, limits)? else { return Ok(None) };
    let FirstLine::Response { status, reason } = lines.first else {
        return Err(Refusal::FirstLine);
    };
    if status < 100 {
        return Err(Refusal::FirstLine);
    }
    let connection = fields::connection(bytes, &mut lines.fields);
    let stated = fields::stated(bytes, &lines.fields, lines.version)?;
    let framing = framing(status, stated, asked)?;
    let ends = matches!(framing, Framing::UntilClose | Framing::Tunnel);
    Ok(Some(Response {
        status,
        reason: FirstLine::span(reason, bytes),
        version: lines.version,
        framing,
        persists: !ends && connection.persists(lines.version),
        fields: lines.fields,
        length: lines.length,
    }))
}

/// RFC 9112, section 6.3.
fn framing(status: u16, stated: Stated, asked: Asked) -> Result<Framing, Refusal> {
    match (status, asked) {
        (101, Asked::Other { upgrade: true }) | (200..=299, Asked::Connect) => {
            return Ok(Framing::Tunnel);
        }
        // The request asked for no other protocol, so what follows would be misread.
        (101, _) => return Err(Refusal::FirstLine),
        (100..=199 | 204 | 304, _) | (_, Asked::Head) => return Ok(Framing::Empty),
        _ => {}
    }
    Ok(match stated {
        Stated::Chunked => Framing::Chunked,
        Stated::Length(length) => Framing::of_length(length),
        Stated::Nothing => Framing::UntilClose,
    })
}

/// The seconds after which the server closes an idle connection, where it says so
/// (`Keep-Alive: timeout=5`).
pub fn idle_seconds(head: &[u8], fields: &[Field]) -> Option<u64> {
    let named = |field: &&Field| {
        field.role == Role::HopByHop && field.name.of(head).eq_ignore_ascii_case(b"keep-alive")
    };
    let value = fields.iter().find(named)?.value.of(head);
    fields::list(value).find_map(|member| {
        let (name, value) = std::str::from_utf8(member).ok()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    })
}
