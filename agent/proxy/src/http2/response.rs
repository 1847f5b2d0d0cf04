//! Heads of answers.

use http::{HeaderMap, Response, StatusCode, header, response::Parts};

use super::request::{add, append, is_of_connection};
use crate::http1::{
    body::Framing,
    edit::Edits,
    head::{Role, Version},
    response::Response as Http1Response,
    write::line,
};

/// How an answer of HTTP/2 goes to a client of HTTP/1.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// What is changed of the fields.
    pub edits: &'a Edits<'a>,
    /// How its body is delimited; `None` where there is none whatever its length says.
    pub framing: Option<Framing>,
    /// The client's version.
    pub to: Version,
    /// Whether the connection ends with it.
    pub closes: bool,
}

/// How the body of an answer is delimited for a client of HTTP/1. `ends` is whether none follows,
/// `bodiless` whether the method or the status rules it out.
pub fn framing(parts: &Parts, ends: bool, bodiless: bool, to: Version) -> Option<Framing> {
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match (bodiless, ends, length, to) {
        (true, ..) => None,
        (false, true, ..) => Some(Framing::Empty),
        (false, false, Some(length), _) => Some(Framing::of_length(length)),
        (false, false, None, Version::Http11) => Some(Framing::Chunked),
        (false, false, None, Version::Http10) => Some(Framing::UntilClose),
    }
}

/// The bytes of the head in HTTP/1.1.
pub fn to_http1(parts: &Parts, reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let reason = parts.status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).as_bytes());
    for (name, value) in &parts.headers {
        if !is_of_connection(name) && !reply.edits.drops(name.as_str().as_bytes()) {
            line(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    for (name, value) in reply.edits.lines() {
        line(&mut out, name.as_bytes(), value.as_bytes());
    }
    match reply.framing {
        Some(Framing::Empty) => line(&mut out, b"content-length", b"0"),
        Some(Framing::Length(length)) => {
            line(&mut out, b"content-length", length.to_string().as_bytes());
        }
        Some(Framing::Chunked) => line(&mut out, b"transfer-encoding", b"chunked"),
        Some(Framing::UntilClose | Framing::Tunnel) => {}
        None => {
            let stated = parts.headers.get(header::CONTENT_LENGTH);
            if let Some(stated) = stated.filter(|_| parts.status != StatusCode::NO_CONTENT) {
                line(&mut out, b"content-length", stated.as_bytes());
            }
        }
    }
    match (reply.closes, reply.to) {
        (true, _) => line(&mut out, b"connection", b"close"),
        (false, Version::Http10) => line(&mut out, b"connection", b"keep-alive"),
        (false, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of an answer of HTTP/2 for a client of HTTP/2.
pub fn onward(parts: &Parts, edits: &Edits<'_>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = parts.status;
    let headers = response.headers_mut();
    for (name, value) in &parts.headers {
        let is_kept = *name == header::CONTENT_LENGTH || !is_of_connection(name);
        if is_kept && !edits.drops(name.as_str().as_bytes()) {
            headers.append(name, value.clone());
        }
    }
    add(headers, edits);
    response
}

/// The head of an answer of HTTP/1 for a client of HTTP/2; `None` where it has what HTTP/2 cannot say.
pub fn from_http1(bytes: &[u8], came: &Http1Response, edits: &Edits<'_>) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(came.status).ok()?;
    let headers: &mut HeaderMap = response.headers_mut();
    for field in &came.fields {
        let is_length = field.role == Role::ContentLength;
        let is_kept = field.role == Role::EndToEnd || is_length;
        if is_kept && !edits.drops(field.name.of(bytes)) {
            append(headers, bytes, field)?;
        }
    }
    add(headers, edits);
    Some(response)
}
