//! What requests must be like, from Istio's words. What depends on the client and not on the
//! request is settled here and leaves no trace.

use std::collections::BTreeMap;

use super::{Client, destination::contains, named};
use crate::{
    pattern::Pattern,
    requests::{
        route::Match,
        text::{HeaderMatch, QueryMatch, Text, ValueMatch},
    },
    resource::virtual_service::{HttpMatch, Labels, StringMatch},
};

/// From where and on which port a client asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteContext<'a> {
    /// The port that is dialled, or that a gateway serves.
    pub(super) port: u16,
    /// `mesh`, or the gateway as `namespace/name`.
    pub(super) gateway: &'a str,
}

/// Whether a match may hold for a client. Where it names gateways, nothing else of the client
/// counts.
pub(super) fn concerns(
    client: &Client,
    context: RouteContext<'_>,
    (gateways, owner): (&[String], &str),
    (labels, namespace): (&Labels, &str),
) -> bool {
    if !gateways.is_empty() {
        return gateways.iter().any(|one| named::gateway(one, owner) == context.gateway);
    }
    contains(&client.labels, labels) && (namespace.is_empty() || namespace == client.namespace)
}

/// The matches of a rule that may hold for a client; a rule without matches has one for
/// everything. A match that cannot be read matches nothing.
pub(super) fn applicable(
    client: &Client,
    context: RouteContext<'_>,
    owner: &str,
    matches: &[HttpMatch],
) -> Vec<Match> {
    if matches.is_empty() {
        return vec![Match::default()];
    }
    let concerned = matches.iter().filter(|one| {
        let from = (&one.source_labels, one.source_namespace.as_str());
        let on_port = one.port == 0 || one.port == u32::from(context.port);
        on_port && concerns(client, context, (&one.gateways, owner), from)
    });
    concerned.filter_map(read).collect()
}

fn read(one: &HttpMatch) -> Option<Match> {
    let optional = |given: &Option<StringMatch>| match given {
        Some(given) if *given != StringMatch::default() => text(given).map(Some),
        // A match that says nothing holds for anything.
        Some(_) | None => Some(None),
    };
    let mut headers = Vec::new();
    for (name, value) in &one.headers {
        headers.push(header(name, value, false)?);
    }
    for (name, value) in &one.without_headers {
        headers.push(header(name, value, true)?);
    }
    Some(Match {
        path: optional(&one.uri)?,
        any_case: one.ignore_uri_case && one.uri.as_ref().is_some_and(|uri| uri.regex.is_none()),
        scheme: optional(&one.scheme)?,
        method: optional(&one.method)?,
        authority: optional(&one.authority)?,
        headers,
        query: query(&one.query_params)?,
    })
}

pub(super) fn text(given: &StringMatch) -> Option<Text> {
    match given {
        StringMatch { exact: Some(exact), .. } => Some(Text::Exact(exact.clone())),
        StringMatch { prefix: Some(prefix), .. } => Some(Text::Prefix(prefix.clone())),
        StringMatch { regex: Some(regex), .. } => Pattern::new(regex).ok().map(Text::Pattern),
        StringMatch { exact: None, prefix: None, regex: None } => None,
    }
}

/// No text, or the pattern `*`, means that the header is there.
fn header(name: &str, given: &StringMatch, invert: bool) -> Option<HeaderMatch> {
    let is_presence = *given == StringMatch::default() || given.regex.as_deref() == Some("*");
    let value = if is_presence { ValueMatch::Present } else { ValueMatch::Text(text(given)?) };
    let missing_is_empty = invert && !is_presence;
    Some(HeaderMatch { name: name.to_ascii_lowercase(), value, invert, missing_is_empty })
}

fn query(given: &BTreeMap<String, StringMatch>) -> Option<Vec<QueryMatch>> {
    let one = |(name, value): (&String, &StringMatch)| {
        let is_presence = *value == StringMatch::default() || value.regex.as_deref() == Some("*");
        let value = if is_presence { None } else { Some(text(value)?) };
        Some(QueryMatch { name: name.clone(), value })
    };
    given.iter().map(one).collect()
}
