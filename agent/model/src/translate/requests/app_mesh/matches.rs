//! What requests must be like, from App Mesh's words, and which of several routes is asked first.

use std::cmp::Reverse;

use crate::{
    pattern::Pattern,
    requests::{
        route::Match,
        text::{HeaderMatch, QueryMatch, Text, ValueMatch},
    },
    resource::app_mesh::route::{self, GrpcMatch, HttpMatch},
};

/// By priority, those without one last; then the whole path before a prefix before a pattern, the
/// longer text, and the route with more conditions.
type Order = (i64, u8, Reverse<usize>, Reverse<usize>);

pub(super) fn order(one: &route::Route) -> Order {
    let http = one.http_route.as_ref().or(one.http2_route.as_ref());
    let when = http.and_then(|http| read(&http.matches));
    let when = when.or_else(|| one.grpc_route.as_ref().and_then(|grpc| read_grpc(&grpc.matches)));
    order_of(one.priority, &when.unwrap_or_default())
}

pub(super) fn order_of(priority: Option<i64>, when: &Match) -> Order {
    let (rank, length) = match &when.path {
        Some(Text::Exact(text)) => (0, text.len()),
        Some(Text::Prefix(text) | Text::Suffix(text)) => (1, text.len()),
        Some(Text::Pattern(pattern)) => (2, pattern.source().len()),
        None => (3, 0),
    };
    let others = when.headers.len()
        + when.query.len()
        + usize::from(when.method.is_some())
        + usize::from(when.scheme.is_some());
    (priority.unwrap_or(i64::MAX), rank, Reverse(length), Reverse(others))
}

/// What a request must be like; `None` if it cannot be read, and then nothing is.
pub(super) fn read(given: &HttpMatch) -> Option<Match> {
    let path = given.path.as_ref();
    let exact = path.and_then(|path| path.exact.clone()).map(Text::Exact);
    let prefix = given.prefix.clone().map(Text::Prefix);
    let regex = match path.and_then(|path| path.regex.as_ref()) {
        Some(regex) => Some(Text::Pattern(Pattern::new(regex).ok()?)),
        None => None,
    };
    let query = given.query_parameters.iter().map(|one| QueryMatch {
        name: one.name.clone(),
        value: one.matches.as_ref().and_then(|value| value.exact.clone()).map(Text::Exact),
    });
    Some(Match {
        path: exact.or(regex).or(prefix),
        any_case: false,
        scheme: given.scheme.clone().map(Text::Exact),
        method: given.method.clone().map(Text::Exact),
        authority: None,
        headers: headers(&given.headers)?,
        query: query.collect(),
    })
}

/// A call is a path of service and method.
pub(super) fn read_grpc(given: &GrpcMatch) -> Option<Match> {
    let path = match (&given.service_name, &given.method_name) {
        (Some(service), Some(method)) => Some(Text::Exact(format!("/{service}/{method}"))),
        (Some(service), None) => Some(Text::Prefix(format!("/{service}/"))),
        (None, _) => None,
    };
    Some(Match { path, headers: headers(&given.metadata)?, ..Match::default() })
}

fn headers(given: &[route::HeaderMatch]) -> Option<Vec<HeaderMatch>> {
    let read = |one: &route::HeaderMatch| {
        let value = match &one.matches {
            None => ValueMatch::Present,
            Some(route::ValueMatch { exact, prefix, range, regex, suffix }) => {
                if let Some(range) = range {
                    ValueMatch::Range(range.start, range.end)
                } else if let Some(regex) = regex {
                    ValueMatch::Text(Text::Pattern(Pattern::new(regex).ok()?))
                } else {
                    let prefix = prefix.clone().map(Text::Prefix);
                    let suffix = suffix.clone().map(Text::Suffix);
                    let exact = exact.clone().map(Text::Exact);
                    ValueMatch::Text(exact.or(prefix).or(suffix)?)
                }
            }
        };
        let (name, invert) = (one.name.to_ascii_lowercase(), one.invert.unwrap_or(false));
        Some(HeaderMatch { name, value, invert, missing_is_empty: false })
    };
    given.iter().map(read).collect()
}
