//! A request's head.

use super::{
    Refusal,
    body::Framing,
    fields::{self, Stated},
    head::{self, Field, FirstLine, Limits, Role, Span, Version},
};

/// A request's head, by places in the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Span,
    /// The target, as it came.
    pub target: Span,
    /// The version.
    pub version: Version,
    /// All fields, in their order.
    pub fields: Vec<Field>,
    /// What it is for: the target's authority, else `Host`; `None` in HTTP/1.0 without either.
    pub authority: Option<Span>,
    /// Path and query; `None` where the target is an authority (`CONNECT`) or `*`.
    pub path: Option<Span>,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether another request may follow on the same connection.
    pub persists: bool,
    /// What the connection is to become, where the client asks for that.
    pub upgrade: Option<Span>,
    /// Whether the client waits for a `100 Continue`.
    pub expects_continue: bool,
    /// Whether the client reads trailers.
    pub accepts_trailers: bool,
    /// Bytes of the head, its empty line included.
    pub length: usize,
}

/// Reads a request's head from the bytes of a connection; `None` while its end has not come.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Option<Request>, Refusal> {
    let Some(mut lines) = head::request(bytes, limits)? else { return Ok(None) };
    let FirstLine::Request { method, target } = lines.first else { return Err(Refusal::FirstLine) };
    if target.len() > limits.target {
        return Err(Refusal::TargetTooLong { limit: limits.target });
    }
    let fields = &mut lines.fields;
    let (host, connection) = (host(bytes, fields)?, fields::connection(bytes, fields));
    let form = form(method, target)?;
    let authority = match (form.authority, host) {
        (Some(named), Some(host)) if !named.as_bytes().eq_ignore_ascii_case(host.of(bytes)) => {
            return Err(Refusal::HostMismatch);
        }
        (_, None) if lines.version == Version::Http11 => return Err(Refusal::Host),
        (Some(named), _) => Some(FirstLine::span(named, bytes)),
        (None, host) => host,
    };
    let framing = match fields::stated(bytes, fields, lines.version)? {
        Stated::Nothing => Framing::Empty,
        Stated::Length(length) => Framing::of_length(length),
        Stated::Chunked => Framing::Chunked,
    };
    let has = |role: Role, member: &[u8]| {
        let of_role = fields.iter().filter(|field| field.role == role);
        let mut members = of_role.flat_map(|field| fields::list(field.value.of(bytes)));
        members.any(|one| one.eq_ignore_ascii_case(member))
    };
    Ok(Some(Request {
        method: FirstLine::span(method, bytes),
        target: FirstLine::span(target, bytes),
        version: lines.version,
        authority,
        path: form.path.map(|path| FirstLine::span(path, bytes)),
        framing,
        persists: connection.persists(lines.version),
        upgrade: upgrade(bytes, fields).filter(|_| connection.upgrade),
        expects_continue: has(Role::Expect, b"100-continue"),
        accepts_trailers: has(Role::Te, b"trailers"),
        fields: lines.fields,
        length: lines.length,
    }))
}

/// The one `Host`, if any.
fn host(head: &[u8], fields: &[Field]) -> Result<Option<Span>, Refusal> {
    let mut all = fields.iter().filter(|field| field.role == Role::Host);
    let Some(host) = all.next() else { return Ok(None) };
    if all.next().is_some() || !is_authority(host.value.of(head)) {
        return Err(Refusal::Host);
    }
    Ok(Some(host.value))
}

/// What the connection is to become. HTTP/2 is not among it: it would carry requests past what
/// reads HTTP/1 here.
fn upgrade(head: &[u8], fields: &[Field]) -> Option<Span> {
    let mut all = fields.iter().filter(|field| field.role == Role::Upgrade);
    let one = all.next().filter(|_| all.next().is_none())?;
    let is_http2 = |member: &[u8]| member.eq_ignore_ascii_case(b"h2c");
    (!fields::list(one.value.of(head)).any(is_http2)).then_some(one.value)
}

/// The parts of a target.
struct Form<'t> {
    authority: Option<&'t str>,
    path: Option<&'t str>,
}

/// RFC 9112, section 3.2. A fragment never stands in a request.
fn form<'t>(method: &str, target: &'t str) -> Result<Form<'t>, Refusal> {
    let is_visible = |byte: u8| byte > b' ' && byte != 0x7f && byte != b'#';
    if !target.bytes().all(is_visible) {
        return Err(Refusal::Target);
    }
    if method == "CONNECT" {
        let has_port = target.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !port.is_empty() && is_authority(target.as_bytes())
        });
        return if has_port {
            Ok(Form { authority: Some(target), path: None })
        } else {
            Err(Refusal::Target)
        };
    }
    if target.starts_with('/') {
        return Ok(Form { authority: None, path: Some(target) });
    }
    if target == "*" {
        return if method == "OPTIONS" {
            Ok(Form { authority: None, path: None })
        } else {
            Err(Refusal::Target)
        };
    }
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::Target)?;
    let is_known = ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_known || authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(Refusal::Target);
    }
    // `http://host?query` has an empty path, which only the one who writes it can name.
    if path.starts_with('?') {
        return Err(Refusal::Target);
    }
    Ok(Form { authority: Some(authority), path: (!path.is_empty()).then_some(path) })
}

/// `host[:port]` without user information (RFC 3986, section 3.2.2): a name, an IPv4 address, or an
/// IPv6 address in brackets. An empty one is allowed where `Host` stands alone.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !text[colon..].contains(&b']') => (&text[..colon], &text[colon + 1..]),
        _ => (text, &[][..]),
    };
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(byte);
    let in_address = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
    let is_host = match host {
        [b'[', address @ .., b']'] => !address.is_empty() && address.iter().all(in_address),
        name => name.iter().all(in_name),
    };
    is_host && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}
