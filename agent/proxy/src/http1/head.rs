//! The part that heads of requests and of responses share: where they end, and their fields.

use std::mem::MaybeUninit;

use super::Refusal;

/// The most fields that any [`Limits`] can allow: the parser's table is on the stack.
pub const MOST_FIELDS: usize = 128;

/// Bounds of a head. The defaults are Envoy's (60 KiB, 100 fields), so that what passed a sidecar
/// passes here; the target has a bound of its own for its own status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its empty line included.
    pub bytes: usize,
    /// Fields of a head, at most [`MOST_FIELDS`].
    pub fields: usize,
    /// Bytes of a request's target.
    pub target: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 60 * 1024, fields: 100, target: 32 * 1024 }
    }
}

/// HTTP/1.0 or HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A part of a head, by its place in the head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes that are meant, of the head that this was read from.
    pub fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    /// The place of a part of `whole`.
    fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr() - whole.as_ptr().addr();
        let place = |at: usize| u32::try_from(at).expect("a head's limit is far below 4 GiB");
        Self { start: place(start), end: place(start + part.len()) }
    }
}

/// A field, by its place in the head's bytes: case, order and repetition are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as it came.
    pub name: Span,
    /// Its value, without the white space around it.
    pub value: Span,
    /// What the name means to the connection it came by.
    pub role: Role,
}

/// What a field means to the connection that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it is passed on.
    EndToEnd,
    /// `Host`.
    Host,
    /// `Content-Length`: the writer of a message writes its own.
    ContentLength,
    /// `Transfer-Encoding`: likewise.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Upgrade`: passed on only where the upgrade is.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `TE`: passed on as `trailers` alone.
    Te,
    /// Meant for this connection alone: `Keep-Alive`, `Proxy-Connection`, `HTTP2-Settings`, and what
    /// `Connection` lists.
    HopByHop,
}

/// What precedes the fields of a head.
pub(super) struct Lines<'b> {
    pub(super) first: FirstLine<'b>,
    pub(super) version: Version,
    pub(super) fields: Vec<Field>,
    /// Bytes of the head, its empty line included.
    pub(super) length: usize,
}

pub(super) enum FirstLine<'b> {
    Request { method: &'b str, target: &'b str },
    Response { status: u16, reason: &'b str },
}

impl FirstLine<'_> {
    pub(super) fn span(part: &str, head: &[u8]) -> Span {
        Span::within(head, part.as_bytes())
    }
}

/// Reads the lines of a request's head; `None` while its end has not come.
pub(super) fn request<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Option<Lines<'b>>, Refusal> {
    let mut table = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let table = &mut table[..limits.fields.min(MOST_FIELDS)];
    let result = parsed.parse_with_uninit_headers(bytes, table);
    let Some(length) = complete(bytes, result, limits)? else { return Ok(None) };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Refusal::FirstLine);
    };
    let first = FirstLine::Request { method, target };
    lines(bytes, length, first, (parsed.version, parsed.headers)).map(Some)
}

/// Reads the lines of a response's head; `None` while its end has not come.
pub(super) fn response<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Option<Lines<'b>>, Refusal> {
    let mut table = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let table = &mut table[..limits.fields.min(MOST_FIELDS)];
    let config = httparse::ParserConfig::default();
    let result = config.parse_response_with_uninit_headers(&mut parsed, bytes, table);
    let Some(length) = complete(bytes, result, limits)? else { return Ok(None) };
    // The parser skips empty lines before a status line; a server has no reason to send any.
    if !bytes.starts_with(b"HTTP/") {
        return Err(Refusal::FirstLine);
    }
    let (Some(status), Some(reason)) = (parsed.code, parsed.reason) else {
        return Err(Refusal::FirstLine);
    };
    let first = FirstLine::Response { status, reason };
    lines(bytes, length, first, (parsed.version, parsed.headers)).map(Some)
}

/// The length of a head that is whole and within its limit.
fn complete(
    bytes: &[u8],
    result: httparse::Result<usize>,
    limits: &Limits,
) -> Result<Option<usize>, Refusal> {
    let too_long = Refusal::HeadTooLong { limit: limits.bytes };
    match result {
        Ok(httparse::Status::Complete(length)) if length > limits.bytes => Err(too_long),
        Ok(httparse::Status::Complete(length)) => {
            ends_every_line(&bytes[..length])?;
            Ok(Some(length))
        }
        // What is malformed already need not be waited for.
        Ok(httparse::Status::Partial) if bytes.len() >= limits.bytes => Err(too_long),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(match error {
            httparse::Error::TooManyHeaders => Refusal::TooManyFields { limit: limits.fields },
            httparse::Error::Version => Refusal::Version,
            httparse::Error::NewLine => Refusal::LineEnd,
            httparse::Error::HeaderName | httparse::Error::HeaderValue => Refusal::Field,
            httparse::Error::Status | httparse::Error::Token => Refusal::FirstLine,
        }),
    }
}

/// The parser takes a line that ends with LF alone; other servers don't, or take more.
fn ends_every_line(head: &[u8]) -> Result<(), Refusal> {
    let bare = |at: usize| at.checked_sub(1).is_none_or(|before| head[before] != b'\r');
    if memchr::memchr_iter(b'\n', head).any(bare) { Err(Refusal::LineEnd) } else { Ok(()) }
}

fn lines<'b>(
    bytes: &'b [u8],
    length: usize,
    first: FirstLine<'b>,
    (version, headers): (Option<u8>, &[httparse::Header<'b>]),
) -> Result<Lines<'b>, Refusal> {
    let version = match version {
        Some(1) => Version::Http11,
        Some(0) => Version::Http10,
        _ => return Err(Refusal::Version),
    };
    let field = |header: &httparse::Header<'b>| Field {
        name: Span::within(bytes, header.name.as_bytes()),
        value: Span::within(bytes, header.value),
        role: role(header.name),
    };
    let fields = headers.iter().map(field).collect();
    Ok(Lines { first, version, fields, length })
}

/// Most names differ by their length already.
pub(super) fn role(name: &str) -> Role {
    let roles: &[(&str, Role)] = match name.len() {
        2 => &[("te", Role::Te)],
        4 => &[("host", Role::Host)],
        6 => &[("expect", Role::Expect)],
        7 => &[("upgrade", Role::Upgrade)],
        10 => &[("connection", Role::Connection), ("keep-alive", Role::HopByHop)],
        14 => &[("content-length", Role::ContentLength), ("http2-settings", Role::HopByHop)],
        16 => &[("proxy-connection", Role::HopByHop)],
        17 => &[("transfer-encoding", Role::TransferEncoding)],
        _ => &[],
    };
    let found = roles.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or(Role::EndToEnd, |(_, role)| *role)
}
