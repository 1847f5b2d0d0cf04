//! What is done with a request, from Istio's words: rewrites, redirects, answers, faults, headers.

use std::collections::BTreeMap;

use super::{matches::text, policy::millionths};
use crate::{
    pattern::Pattern,
    requests::{
        change::{Answer, HeaderChanges, HeaderOps, PathRewrite, Redirect, RedirectPort, Rewrite},
        route::{Abort, AbortStatus, Cors, Delay, Fault, Match},
        text::Text,
    },
    resource::{
        duration::duration,
        virtual_service::{
            self, CorsPolicy, DerivePort, HeaderOperations, Headers, Percent, UnmatchedPreflights,
        },
    },
};

pub(super) fn is_host(name: &str) -> bool {
    name == "host" || name == ":authority"
}

pub(super) fn chance(percent: Option<&Percent>) -> u32 {
    percent.and_then(|percent| percent.value).map_or(0, millionths)
}

pub(super) fn rewrite(given: Option<&virtual_service::Rewrite>, when: &Match) -> Rewrite {
    let Some(virtual_service::Rewrite { uri, authority, uri_regex_rewrite }) = given else {
        return Rewrite::default();
    };
    let by_pattern = uri_regex_rewrite.as_ref().and_then(|one| {
        let pattern = Pattern::new(&one.pattern).ok()?;
        Some(PathRewrite::Pattern { pattern, to: one.rewrite.clone() })
    });
    let path = if uri.is_empty() { by_pattern } else { by_match(uri, when) };
    Rewrite { authority: Some(authority.clone()).filter(|host| !host.is_empty()), path }
}

/// Under a prefix only the prefix is replaced, else the whole path.
fn by_match(to: &str, when: &Match) -> Option<PathRewrite> {
    match &when.path {
        Some(Text::Prefix(prefix)) => PathRewrite::prefix(prefix, to),
        _ => Some(PathRewrite::Whole(to.to_owned())),
    }
}

pub(super) fn redirect_to(given: &virtual_service::Redirect, when: &Match) -> Redirect {
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let whole = said(&given.uri).map(PathRewrite::Whole);
    let prefix = said(&given.prefix_rewrite).and_then(|to| by_match(&to, when));
    Redirect {
        path: whole.or(prefix),
        authority: said(&given.authority),
        port: match (given.port, given.derive_port) {
            (Some(port), _) => RedirectPort::Fixed(u16::try_from(port).unwrap_or_default()),
            (None, Some(DerivePort::FromRequestPort)) => RedirectPort::OfRequest,
            (None, Some(DerivePort::FromProtocolDefault) | None) => RedirectPort::Default,
        },
        scheme: said(&given.scheme),
        status: match given.redirect_code {
            0 => 301,
            code => u16::try_from(code).unwrap_or(301),
        },
    }
}

pub(super) fn answer(given: &virtual_service::DirectResponse) -> Answer {
    let body = given.body.as_ref();
    let text = body.and_then(|body| body.string.as_ref()).map(|text| text.clone().into_bytes());
    let bytes = body.and_then(|body| body.bytes.as_deref()).and_then(decode);
    let status = u16::try_from(given.status).unwrap_or(200);
    Answer { status, body: text.or(bytes).unwrap_or_default() }
}

/// Base64, as the schema writes bytes.
fn decode(text: &str) -> Option<Vec<u8>> {
    let quoted = serde_json::Value::String(text.to_owned());
    serde_json::from_value::<k8s_openapi::ByteString>(quoted).ok().map(|bytes| bytes.0)
}

pub(super) fn faults(given: Option<&virtual_service::Fault>) -> Fault {
    let Some(virtual_service::Fault { delay, abort }) = given else { return Fault::default() };
    let delay = delay.as_ref().and_then(|delay| {
        let old = delay.percent.map(|percent| Percent { value: Some(f64::from(percent)) });
        let chance = chance(delay.percentage.as_ref().or(old.as_ref()));
        let time = delay.fixed_delay.as_deref().and_then(duration)?;
        (chance > 0).then_some(Delay { time, chance })
    });
    let abort = abort.as_ref().and_then(|abort| {
        let chance = chance(abort.percentage.as_ref());
        let http = abort.http_status.and_then(|status| u16::try_from(status).ok());
        let grpc = abort.grpc_status.as_deref().and_then(grpc_status);
        let status = http.map(AbortStatus::Http).or(grpc.map(AbortStatus::Grpc))?;
        (chance > 0).then_some(Abort { status, chance })
    });
    Fault { delay, abort }
}

/// The statuses of gRPC, by number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn grpc_status(name: &str) -> Option<u8> {
    let number = GRPC.iter().position(|one| *one == name);
    number.and_then(|number| u8::try_from(number).ok())
}

pub(super) fn cors(given: &CorsPolicy) -> Cors {
    let old = given.allow_origin.iter().map(|origin| match origin.as_str() {
        "*" => Text::Prefix(String::new()),
        exact => Text::Exact(exact.to_owned()),
    });
    Cors {
        origins: given.allow_origins.iter().filter_map(text).chain(old).collect(),
        methods: given.allow_methods.clone(),
        headers: given.allow_headers.clone(),
        expose: given.expose_headers.clone(),
        max_age: given.max_age.as_deref().and_then(duration),
        credentials: given.allow_credentials,
        forward_others: given.unmatched_preflights != Some(UnmatchedPreflights::Ignore),
    }
}

pub(super) fn changes(given: Option<&Headers>) -> HeaderChanges {
    let operations = |given: Option<&HeaderOperations>| {
        let Some(HeaderOperations { set, add, remove }) = given else {
            return HeaderOps::default();
        };
        let lower = |map: &BTreeMap<String, String>| {
            map.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
        };
        // No route may remove the host, nor what is no header at all.
        let removable =
            |name: &&String| !is_host(&name.to_ascii_lowercase()) && !name.starts_with(':');
        let remove = remove.iter().filter(removable).map(|name| name.to_ascii_lowercase());
        HeaderOps { set: lower(set), add: lower(add), remove: remove.collect() }
    };
    HeaderChanges {
        request: operations(given.and_then(|one| one.request.as_ref())),
        response: operations(given.and_then(|one| one.response.as_ref())),
    }
}
