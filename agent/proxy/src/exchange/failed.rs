//! Why a try came to nothing, and what the client is told then: local answers are made here and
//! nowhere else. Statuses and flags are Envoy's.

use std::{fmt::Write as _, io};

use super::flags::Flag;
use crate::{
    DialError, TlsError,
    cluster::Retrying,
    http1::{Refusal, head::Version, write},
};

/// Why a try came to nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// The route leads to what is not there.
    NoCluster,
    /// There is no endpoint.
    NoEndpoint,
    /// The destination speaks HTTP/2, which cannot say what the request asks for.
    NotInHttp2,
    /// No connection could be made.
    Dial(DialError),
    /// The upstream ended its connection before it answered.
    Reset {
        /// Whether the connection had carried requests before.
        reused: bool,
    },
    /// The upstream took the stream without looking at it.
    RefusedStream,
    /// What the upstream answered is no HTTP.
    Answer(Refusal),
    /// The answer calls for another try, which is counted already.
    Status { status: u16, retrying: Retrying },
    /// A limit of the destination is reached.
    Overflow,
    /// Nothing was sent either way for too long.
    Idle {
        /// Whether the request was sent whole.
        is_sent: bool,
    },
    /// It took too long.
    TimedOut {
        /// Whether it was this try alone that had no more time.
        one_try: bool,
    },
    /// The client left.
    Client(io::Error),
    /// The client's body is no HTTP.
    Body(Refusal),
    /// The answer broke off after it had begun.
    Cut(Flag),
}

impl Failed {
    /// The flag of it.
    pub(super) const fn flag(&self) -> Option<Flag> {
        Some(match self {
            Self::NoCluster => Flag::NoCluster,
            Self::NoEndpoint => Flag::NoHealthyUpstream,
            Self::NotInHttp2 | Self::Dial(_) => Flag::UpstreamConnectionFailure,
            Self::Reset { .. } => Flag::UpstreamConnectionTermination,
            Self::RefusedStream => Flag::UpstreamReset,
            Self::Answer(_) => Flag::UpstreamProtocolError,
            Self::Status { .. } => return None,
            Self::Overflow => Flag::UpstreamOverflow,
            Self::Idle { .. } => Flag::StreamIdleTimeout,
            Self::TimedOut { .. } => Flag::UpstreamTimeout,
            Self::Client(_) => Flag::DownstreamTermination,
            Self::Body(_) => Flag::DownstreamProtocolError,
            Self::Cut(flag) => *flag,
        })
    }

    /// What the client is told; nothing where it left, or was told something already.
    pub(super) fn answer(&self) -> Option<Local> {
        let (status, text) = match self {
            Self::NoCluster => (503, "the route leads to a service that is not there"),
            Self::NoEndpoint => (503, "no healthy upstream"),
            Self::NotInHttp2 => {
                (501, "the destination speaks HTTP/2, which has no upgrades of this kind")
            }
            Self::Reset { reused: false } => {
                (503, "the upstream closed the connection before it answered")
            }
            Self::Reset { reused: true } => (
                503,
                "the upstream closed a connection that had been idle before it answered; its idle \
                 timeout may be shorter than the pool's",
            ),
            Self::RefusedStream => (503, "the upstream refused the stream"),
            Self::TimedOut { .. } => (504, "upstream request timeout"),
            Self::Idle { is_sent: true } => (504, "stream timeout"),
            Self::Idle { is_sent: false } => (408, "stream timeout"),
            Self::Overflow => {
                let mut local =
                    Local::text(503, "a connection or request limit of the destination is reached");
                local.headers.push(("x-envoy-overloaded", "true".to_owned()));
                return Some(local);
            }
            Self::Dial(error) => {
                let cause = match error {
                    // The rest is about this side, and goes to the flow alone.
                    DialError::Tls { source, .. } => format!(": {source}"),
                    DialError::Settings(TlsError::Mesh(error)) => format!(": {error}"),
                    _ => String::new(),
                };
                return Some(Local::text(503, &format!("upstream connect error: {error}{cause}")));
            }
            Self::Answer(refusal) => {
                return Some(Local::text(502, &format!("upstream protocol error: {refusal}")));
            }
            Self::Body(refusal) => return Some(Local::refused(*refusal)),
            Self::Status { .. } | Self::Client(_) | Self::Cut(_) => return None,
        };
        Some(Local::text(status, text))
    }
}

/// An answer that is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Local {
    /// With a line of text.
    pub(super) fn text(status: u16, text: &str) -> Self {
        let headers = vec![("Content-Type", "text/plain".to_owned())];
        Self { status, headers, body: text.as_bytes().to_vec() }
    }

    /// To a message that may not be passed on.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::text(refusal.status(), &refusal.to_string())
    }

    /// The same in gRPC's words, as Envoy translates it: always a 200, whose fields tell the rest.
    pub(super) fn in_grpc(mut self) -> Self {
        if self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("grpc-status")) {
            return self;
        }
        let status = match self.status {
            200 => return self,
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502..=504 => 14,
            _ => 2,
        };
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        self.headers.push(("content-type", "application/grpc".to_owned()));
        self.headers.push(("grpc-status", status.to_string()));
        // The message is coded as in a URL (gRPC over HTTP/2, "Status-Message").
        let mut message = String::new();
        for byte in self.body {
            if matches!(byte, b' '..=b'~') && byte != b'%' {
                message.push(char::from(byte));
            } else {
                // Nothing fails to be written to a text.
                let _ = write!(message, "%{byte:02X}");
            }
        }
        self.headers.push(("grpc-message", message));
        Self { status: 200, headers: self.headers, body: Vec::new() }
    }

    /// The bytes of it. `lines` are fields that routes add.
    pub(super) fn bytes(&self, lines: &[(&str, &str)], form: Form) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.body.len());
        let reason = reason(self.status);
        out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", self.status).as_bytes());
        for (name, value) in &self.headers {
            write::line(&mut out, name.as_bytes(), value.as_bytes());
        }
        for (name, value) in lines {
            write::line(&mut out, name.as_bytes(), value.as_bytes());
        }
        write::line(&mut out, b"Server", b"sekisho");
        if !matches!(self.status, 100..=199 | 204 | 304) {
            write::line(&mut out, b"Content-Length", self.body.len().to_string().as_bytes());
        }
        match (form.closes, form.to) {
            (true, _) => write::line(&mut out, b"Connection", b"close"),
            (false, Version::Http10) => write::line(&mut out, b"Connection", b"keep-alive"),
            (false, Version::Http11) => {}
        }
        out.extend_from_slice(b"\r\n");
        if !form.bodiless && !matches!(self.status, 100..=199 | 204 | 304) {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// In which form an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// To `HEAD` there is no body.
    pub(super) bodiless: bool,
    /// Whether the connection ends with it.
    pub(super) closes: bool,
    /// The client's version.
    pub(super) to: Version,
}

/// The usual phrase.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
