//! A request as the model asks about it, and as it is sent on.

use std::borrow::Cow;

use agent_model::requests;
use http::{HeaderName, HeaderValue, request::Parts};

use super::{
    marks::{self, Marks, Tracing},
    story::RequestProtocol,
};
use crate::{
    http1::{
        body::Framing,
        edit::Edits,
        request::Request,
        response::Asked,
        write::{self, Outgoing},
    },
    http2::{self, request::Checked},
    tls::Speaks,
};

/// A request's head.
pub(super) struct AskedFor<'a> {
    came: Came<'a>,
    method: Cow<'a, str>,
    authority: Cow<'a, str>,
    target: Cow<'a, str>,
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    marks: Marks,
}

/// How it came.
enum Came<'a> {
    Http1 { head: &'a [u8], request: &'a Request },
    Http2 { parts: &'a Parts, framing: Framing },
}

/// A request's head as it is to be sent.
pub(super) enum RequestHead {
    Http1(Vec<u8>),
    Http2(http::Request<()>),
}

impl RequestHead {
    /// The version that it is in.
    pub(super) const fn speaks(&self) -> Speaks {
        match self {
            Self::Http1(_) => Speaks::Http1,
            Self::Http2(_) => Speaks::Http2,
        }
    }
}

impl<'a> AskedFor<'a> {
    /// What a head of HTTP/2 says.
    pub(super) fn of_http2(
        parts: &'a Parts,
        checked: &'a Checked,
        tracing: Option<Tracing>,
    ) -> Self {
        let field = |(name, value): (&'a HeaderName, &'a HeaderValue)| {
            (Cow::Borrowed(name.as_str()), String::from_utf8_lossy(value.as_bytes()))
        };
        let headers: Vec<_> = parts.headers.iter().map(field).collect();
        Self {
            came: Came::Http2 { parts, framing: checked.framing },
            method: Cow::Borrowed(parts.method.as_str()),
            authority: Cow::Borrowed(&checked.authority),
            target: Cow::Borrowed(&checked.target),
            marks: Marks::of(&headers, tracing),
            headers,
        }
    }

    /// What a head of HTTP/1 says. Bytes that are no text are replaced where texts are held against them;
    /// what is sent on stays as it came.
    pub(super) fn of_http1(head: &'a [u8], request: &'a Request, tracing: Option<Tracing>) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes);
        let field = |field: &crate::http1::head::Field| {
            (text(field.name.of(head)), text(field.value.of(head)))
        };
        let is_connect = request.method.of(head) == b"CONNECT";
        let target = match request.path {
            Some(path) => path.of(head),
            // An absolute target without a path is for the root.
            None if !is_connect && request.target.of(head).contains(&b':') => &b"/"[..],
            None => request.target.of(head),
        };
        let headers: Vec<_> = request.fields.iter().map(field).collect();
        Self {
            came: Came::Http1 { head, request },
            method: text(request.method.of(head)),
            authority: request.authority.map_or(Cow::Borrowed(""), |span| text(span.of(head))),
            target: text(target),
            marks: Marks::of(&headers, tracing),
            headers,
        }
    }

    /// Has the model look at it.
    pub(super) fn shown<T>(&self, look: impl FnOnce(&requests::Request<'_>) -> T) -> T {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        look(&requests::Request {
            method: &self.method,
            scheme: "http",
            authority: &self.authority,
            target: &self.target,
            headers: &headers,
        })
    }

    /// A header's values, joined; `None` where it did not come.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.shown(|request| request.header(name))
    }

    /// The first value of a header that is not empty.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        marks::first(&self.headers, name)
    }

    /// What tells it from others.
    pub(super) const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The first value of a parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.shown(|request| request.parameter(name).map(str::to_owned))
    }

    /// The value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        let all = self.header("cookie")?.replace(',', ";");
        all.split(';').find_map(|pair| {
            let (own, value) = pair.split_once('=')?;
            (own.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
        })
    }

    /// Whether it is a call of gRPC: its failures are told in gRPC's words.
    pub(super) fn is_grpc(&self) -> bool {
        let kind = self.header("content-type").unwrap_or_default();
        kind.strip_prefix("application/grpc")
            .is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'+' | b';', ..]))
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path with its query; an authority for `CONNECT`.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Whether it came by HTTP/2.
    pub(super) const fn is_http2(&self) -> bool {
        matches!(self.came, Came::Http2 { .. })
    }

    /// In what it came.
    pub(super) fn protocol(&self) -> RequestProtocol {
        match &self.came {
            _ if self.is_grpc() => RequestProtocol::Grpc,
            Came::Http1 { .. } => RequestProtocol::Http1,
            Came::Http2 { .. } => RequestProtocol::Http2,
        }
    }

    /// Whether the client's connection may carry another request.
    pub(super) const fn persists(&self) -> bool {
        match &self.came {
            Came::Http1 { request, .. } => request.persists,
            Came::Http2 { .. } => true,
        }
    }

    pub(super) const fn framing(&self) -> Framing {
        match &self.came {
            Came::Http1 { request, .. } => request.framing,
            Came::Http2 { framing, .. } => *framing,
        }
    }

    /// Whether it may be repeated without harm (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(&*self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    /// What of it decides how its answer is delimited.
    pub(super) fn asked(&self) -> Asked {
        let upgrade = match &self.came {
            Came::Http1 { request, .. } => request.upgrade.is_some(),
            Came::Http2 { .. } => false,
        };
        match &*self.method {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ => Asked::Other { upgrade },
        }
    }

    /// Its head as it is sent on by HTTP/1.
    pub(super) fn to_http1(
        &self,
        target: &str,
        host: Option<&str>,
        edits: &Edits<'_>,
    ) -> RequestHead {
        RequestHead::Http1(match &self.came {
            Came::Http1 { head, request } => {
                // What no rule rewrote is sent as it came, whatever bytes it has.
                let own = request.path.map(|path| path.of(head));
                let own = own.filter(|_| *target == *self.target);
                let target = own.unwrap_or(target.as_bytes());
                let host = host.map(str::as_bytes);
                write::request(head, request, &Outgoing { target, host, edits })
            }
            Came::Http2 { parts, framing } => {
                let host = host.unwrap_or(&self.authority);
                http2::request::to_http1(parts, target, host, edits, *framing)
            }
        })
    }

    /// Its head as it is sent on by HTTP/2; nothing where that cannot say it.
    pub(super) fn to_http2(
        &self,
        target: &str,
        host: Option<&str>,
        edits: &Edits<'_>,
    ) -> Option<RequestHead> {
        let host = host.unwrap_or(&self.authority);
        let request = match &self.came {
            // An upgrade is one of a connection, and a stream is none.
            Came::Http1 { request, .. } if request.upgrade.is_some() => None,
            Came::Http1 { head, request } => {
                http2::request::from_http1(head, request, target, host, edits)
            }
            Came::Http2 { parts, .. } => http2::request::onward(parts, target, host, edits),
        };
        request.map(RequestHead::Http2)
    }
}
