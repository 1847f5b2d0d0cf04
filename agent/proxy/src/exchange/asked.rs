//! A request as the model asks about it, and as it is sent on.

use std::borrow::Cow;

use agent_model::requests;

use crate::http1::{
    body::Framing,
    edit::Edits,
    head::Version,
    request::Request,
    response::Asked,
    write::{self, Outgoing},
};

/// A request's head and its bytes.
pub(super) struct AskedFor<'a> {
    head: &'a [u8],
    request: &'a Request,
    method: Cow<'a, str>,
    authority: Cow<'a, str>,
    target: Cow<'a, str>,
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> AskedFor<'a> {
    /// What a head says. Bytes that are no text are replaced where texts are held against them;
    /// what is sent on stays as it came.
    pub(super) fn new(head: &'a [u8], request: &'a Request) -> Self {
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
        Self {
            head,
            request,
            method: text(request.method.of(head)),
            authority: request.authority.map_or(Cow::Borrowed(""), |span| text(span.of(head))),
            target: text(target),
            headers: request.fields.iter().map(field).collect(),
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

    pub(super) fn version(&self) -> Version {
        self.request.version
    }

    /// Whether the client's connection may carry another request.
    pub(super) fn persists(&self) -> bool {
        self.request.persists
    }

    pub(super) fn framing(&self) -> Framing {
        self.request.framing
    }

    /// Whether it may be repeated without harm (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(&*self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    /// What of it decides how its answer is delimited.
    pub(super) fn asked(&self) -> Asked {
        match &*self.method {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ => Asked::Other { upgrade: self.request.upgrade.is_some() },
        }
    }

    /// Its head as it is sent on.
    pub(super) fn outgoing(
        &self,
        target: &[u8],
        host: Option<&[u8]>,
        edits: &Edits<'_>,
    ) -> Vec<u8> {
        // What nobody rewrote is sent as it came, whatever bytes it has.
        let own = self.request.path.map(|path| path.of(self.head));
        let target = own.filter(|_| target == self.target.as_bytes()).unwrap_or(target);
        write::request(self.head, self.request, &Outgoing { target, host, edits })
    }
}
