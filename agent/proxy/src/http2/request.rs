//! Heads of requests.

use http::{
    HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::http1::{
    Refusal,
    body::Framing,
    edit::Edits,
    head::{Field, Role},
    request::Request as Http1Request,
    write::line,
};

/// What a request of HTTP/2 says of its host and of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// `:authority`, else `Host`.
    pub authority: String,
    /// Path and query; of `CONNECT` its authority.
    pub target: String,
    /// How its body is delimited where it is sent on by HTTP/1.
    pub framing: Framing,
}

/// Checks what HTTP/1 would take for something else: two hosts that differ, two lengths, a path that is
/// none. `ends` is whether no body follows.
pub fn check(parts: &Parts, ends: bool) -> Result<Checked, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refusal::Host);
    }
    let named = parts.uri.authority().map(Authority::as_str);
    let authority = match (named, host) {
        (Some(named), Some(host)) if !named.as_bytes().eq_ignore_ascii_case(host) => {
            return Err(Refusal::HostMismatch);
        }
        (Some(named), _) => named,
        (None, Some(host)) => std::str::from_utf8(host).map_err(|_| Refusal::Host)?,
        (None, None) => return Err(Refusal::Host),
    };
    // User information is no part of a host (RFC 9113, section 8.3.1).
    if authority.is_empty() || authority.contains('@') {
        return Err(Refusal::Host);
    }
    let target = if parts.method == Method::CONNECT {
        authority.to_owned()
    } else {
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let is_asterisk = target == "*" && parts.method == Method::OPTIONS;
        if !target.starts_with('/') && !is_asterisk {
            return Err(Refusal::Target);
        }
        target.to_owned()
    };
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Refusal::ContentLength);
    }
    let digits = |value: &HeaderValue| {
        let text =
            value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        text.and_then(|text| text.parse::<u64>().ok()).ok_or(Refusal::ContentLength)
    };
    let framing = match (length.map(digits).transpose()?, ends) {
        (Some(length), true) if length > 0 => return Err(Refusal::ContentLength),
        (_, true) => Framing::Empty,
        (Some(length), false) => Framing::of_length(length),
        (None, false) => Framing::Chunked,
    };
    Ok(Checked { authority: authority.to_owned(), target, framing })
}

/// Whether a field belongs to the connection that it came by, or frames its message.
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::CONTENT_LENGTH,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// The bytes of the head in HTTP/1.1.
pub fn to_http1(
    parts: &Parts,
    target: &str,
    host: &str,
    edits: &Edits<'_>,
    framing: Framing,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(&mut out, b"host", host.as_bytes());
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        let is_dropped = edits.drops(name.as_str().as_bytes());
        if *name == header::HOST || is_of_connection(name) || is_dropped {
            continue;
        }
        // HTTP/2 may split them, HTTP/1 has one field (RFC 9113, section 8.2.3).
        if *name == header::COOKIE {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else {
            line(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !cookies.is_empty() {
        line(&mut out, b"cookie", &cookies);
    }
    for (name, value) in edits.lines() {
        line(&mut out, name.as_bytes(), value.as_bytes());
    }
    if parts.headers.get(header::TE).is_some_and(|value| value == "trailers") {
        line(&mut out, b"connection", b"TE");
        line(&mut out, b"te", b"trailers");
    }
    match framing {
        Framing::Length(length) => line(&mut out, b"content-length", length.to_string().as_bytes()),
        Framing::Chunked => line(&mut out, b"transfer-encoding", b"chunked"),
        Framing::Empty if parts.headers.contains_key(header::CONTENT_LENGTH) => {
            line(&mut out, b"content-length", b"0");
        }
        Framing::Empty | Framing::UntilClose | Framing::Tunnel => {}
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of a request of HTTP/2 as it is sent on by HTTP/2.
pub fn onward(parts: &Parts, target: &str, host: &str, edits: &Edits<'_>) -> Option<Request<()>> {
    let mut request = head(parts.method.clone(), target, host)?;
    let headers = request.headers_mut();
    for (name, value) in &parts.headers {
        let is_te = *name == header::TE && value == "trailers";
        let is_length = *name == header::CONTENT_LENGTH;
        let is_kept = is_te || is_length || !is_of_connection(name);
        if *name != header::HOST && is_kept && !edits.drops(name.as_str().as_bytes()) {
            headers.append(name, value.clone());
        }
    }
    add(headers, edits);
    Some(request)
}

/// The head of a request of HTTP/1 as it is sent on by HTTP/2.
pub fn from_http1(
    bytes: &[u8],
    came: &Http1Request,
    target: &str,
    host: &str,
    edits: &Edits<'_>,
) -> Option<Request<()>> {
    let method = Method::from_bytes(came.method.of(bytes)).ok()?;
    let mut request = head(method, target, host)?;
    let headers = request.headers_mut();
    for field in &came.fields {
        let name = field.name.of(bytes);
        let is_kept = matches!(field.role, Role::EndToEnd | Role::Expect) && !edits.drops(name);
        if is_kept {
            append(headers, bytes, field)?;
        }
    }
    if came.accepts_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Framing::Length(length) = came.framing {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    add(headers, edits);
    Some(request)
}

fn head(method: Method, target: &str, host: &str) -> Option<Request<()>> {
    let authority = Authority::try_from(host).ok()?;
    let uri = if method == Method::CONNECT {
        Uri::builder().authority(authority).build().ok()?
    } else {
        let path = PathAndQuery::try_from(target).ok()?;
        let with = Uri::builder().scheme(Scheme::HTTP).authority(authority);
        with.path_and_query(path).build().ok()?
    };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    Some(request)
}

pub(super) fn append(headers: &mut http::HeaderMap, bytes: &[u8], field: &Field) -> Option<()> {
    let name = HeaderName::from_bytes(field.name.of(bytes)).ok()?;
    headers.append(name, HeaderValue::from_bytes(field.value.of(bytes)).ok()?);
    Some(())
}

pub(super) fn add(headers: &mut http::HeaderMap, edits: &Edits<'_>) {
    for (name, value) in edits.lines() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
}
