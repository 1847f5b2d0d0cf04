//! Heads that are passed on: the fields that came, in their case and order, without what belonged to
//! the connection that they came by, and with framing of our own.

use super::{
    body::Framing,
    edit::Edits,
    head::{Field, Role, Version},
    request::Request,
    response::Response,
};

/// A request as it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The target.
    pub target: &'a [u8],
    /// The host; `None` is the one that came.
    pub host: Option<&'a [u8]>,
    /// What is changed of the fields.
    pub edits: &'a Edits<'a>,
}

/// The bytes of a request's head.
pub fn request(head: &[u8], came: &Request, leaves: &Outgoing<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    let Outgoing { target, host, edits } = *leaves;
    out.extend_from_slice(came.method.of(head));
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = host.or_else(|| came.authority.map(|span| span.of(head))).unwrap_or_default();
    if came.fields.iter().all(|field| field.role != Role::Host) {
        line(&mut out, b"Host", host);
    }
    for field in &came.fields {
        let (name, value) = (field.name.of(head), field.value.of(head));
        match field.role {
            Role::Host => line(&mut out, name, host),
            Role::EndToEnd if !edits.drops(name) => line(&mut out, name, value),
            Role::Expect => line(&mut out, name, value),
            // A length of zero says that there is a body, and that it is empty.
            Role::ContentLength if came.framing == Framing::Empty => line(&mut out, name, b"0"),
            _ => {}
        }
    }
    added(&mut out, edits);
    match (came.upgrade, came.accepts_trailers) {
        (Some(to), _) => {
            line(&mut out, b"Connection", b"Upgrade");
            line(&mut out, b"Upgrade", to.of(head));
        }
        (None, true) => {
            line(&mut out, b"Connection", b"TE");
            line(&mut out, b"TE", b"trailers");
        }
        (None, false) => {}
    }
    framing(&mut out, came.framing);
    out.extend_from_slice(b"\r\n");
    out
}

/// How a response's body goes on to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// There is none; a length that came says how long it would be.
    Bodiless,
    /// With this framing.
    Framed(Framing),
}

/// A response as it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// What is changed of the fields.
    pub edits: &'a Edits<'a>,
    /// How its body is delimited.
    pub delivery: Delivery,
    /// The client's version.
    pub to: Version,
    /// Whether the connection ends with it.
    pub closes: bool,
}

/// The bytes of a response's head.
pub fn response(head: &[u8], came: &Response, reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(came.status.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(came.reason.of(head));
    out.extend_from_slice(b"\r\n");
    fields(&mut out, head, &came.fields, reply.edits);
    added(&mut out, reply.edits);
    match reply.delivery {
        Delivery::Bodiless if !matches!(came.status, 100..=199 | 204) => {
            let stated = came.fields.iter().find(|field| field.role == Role::ContentLength);
            if let Some(stated) = stated {
                line(&mut out, b"Content-Length", stated.value.of(head));
            }
        }
        Delivery::Bodiless => {}
        Delivery::Framed(Framing::Empty) => line(&mut out, b"Content-Length", b"0"),
        Delivery::Framed(Framing::Tunnel) => tunnel(&mut out, head, came),
        Delivery::Framed(other) => framing(&mut out, other),
    }
    if reply.delivery != Delivery::Framed(Framing::Tunnel) {
        persistence(&mut out, reply);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The bytes of an interim response's head.
pub fn interim(head: &[u8], came: &Response) -> Vec<u8> {
    let (edits, delivery) = (&Edits::default(), Delivery::Bodiless);
    response(head, came, &Reply { edits, delivery, to: Version::Http11, closes: false })
}

/// Says what the client's version would not take for granted.
fn persistence(out: &mut Vec<u8>, reply: &Reply<'_>) {
    match (reply.closes, reply.to) {
        (true, _) => line(out, b"Connection", b"close"),
        (false, Version::Http10) => line(out, b"Connection", b"keep-alive"),
        (false, Version::Http11) => {}
    }
}

fn tunnel(out: &mut Vec<u8>, head: &[u8], came: &Response) {
    if came.status != 101 {
        return;
    }
    line(out, b"Connection", b"Upgrade");
    for field in came.fields.iter().filter(|field| field.role == Role::Upgrade) {
        line(out, field.name.of(head), field.value.of(head));
    }
}

fn fields(out: &mut Vec<u8>, head: &[u8], all: &[Field], edits: &Edits<'_>) {
    for field in all {
        let (name, value) = (field.name.of(head), field.value.of(head));
        // What means something in a request only is passed on like any other.
        let passes = matches!(field.role, Role::EndToEnd | Role::Host | Role::Expect | Role::Te);
        if passes && !edits.drops(name) {
            line(out, name, value);
        }
    }
}

fn added(out: &mut Vec<u8>, edits: &Edits<'_>) {
    for (name, value) in edits.lines() {
        line(out, name.as_bytes(), value.as_bytes());
    }
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            line(out, b"Content-Length", length.to_string().as_bytes());
        }
        Framing::Chunked => line(out, b"Transfer-Encoding", b"chunked"),
        Framing::Empty | Framing::UntilClose | Framing::Tunnel => {}
    }
}

/// A field's line.
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// The lines of a body's next part: as it is, or as a chunk.
pub fn body(out: &mut Vec<u8>, data: &[u8], chunked: bool) {
    if data.is_empty() {
        return;
    }
    if chunked {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(data);
    }
}

/// The end of a body.
pub fn end(out: &mut Vec<u8>, trailers: &[u8], chunked: bool) {
    if chunked {
        for part in [b"0\r\n", trailers, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}
