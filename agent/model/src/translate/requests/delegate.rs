//! Rules that a `VirtualService` takes from another: each pair of matches made one, the pairs that
//! exclude each other left out.

use std::collections::BTreeMap;

use super::super::exposure::exposure;
use crate::{
    registry::Exposure,
    resource::{
        Kind, Object, ObjectKey, Objects,
        virtual_service::{HttpMatch, HttpRoute, Labels, StringMatch, VirtualService},
    },
};

/// A rule for HTTP, and the namespace that its short names belong to.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) namespace: String,
    pub(super) route: HttpRoute,
}

/// The rules of an object, those of its delegates in the place of the rules that name them. A
/// delegate that is missing, or that is not for everybody's eyes, costs just that rule.
pub(super) fn resolve(objects: &Objects, root: &VirtualService, usual: &Exposure) -> Vec<Rule> {
    let own = root.metadata.namespace.clone().unwrap_or_default();
    let mut rules = Vec::new();
    for route in &root.spec.http {
        let Some(delegate) = &route.delegate else {
            rules.push(Rule { namespace: own.clone(), route: route.clone() });
            continue;
        };
        let namespace = match delegate.namespace.as_str() {
            "" => own.clone(),
            namespace => namespace.to_owned(),
        };
        let key = ObjectKey::new(Kind::VirtualService, &*namespace, &*delegate.name);
        let Some(Object::VirtualService(leaf)) = objects.get(&key) else { continue };
        let exposed = exposure(&leaf.spec.export_to).unwrap_or_else(|| usual.clone());
        if !leaf.spec.hosts.is_empty() || !exposed.includes(&own, &namespace) {
            continue;
        }
        let nested = leaf.spec.http.iter().filter(|inner| inner.delegate.is_none());
        rules.extend(nested.filter_map(|inner| {
            Some(Rule { namespace: namespace.clone(), route: combine(route, inner)? })
        }));
    }
    rules
}

/// What the delegate leaves open the root fills in.
fn combine(root: &HttpRoute, leaf: &HttpRoute) -> Option<HttpRoute> {
    let matches = combine_matches(&root.matches, &leaf.matches)?;
    let mut route = HttpRoute { matches, ..leaf.clone() };
    if route.name.is_empty() {
        route.name.clone_from(&root.name);
    } else if !root.name.is_empty() {
        route.name = format!("{}-{}", root.name, route.name);
    }
    let HttpRoute { rewrite, timeout, retries, fault, mirror, cors_policy, headers, .. } = root;
    route.rewrite = route.rewrite.or_else(|| rewrite.clone());
    route.timeout = route.timeout.or_else(|| timeout.clone());
    route.retries = route.retries.or_else(|| retries.clone());
    route.fault = route.fault.or_else(|| fault.clone());
    route.cors_policy = route.cors_policy.or_else(|| cors_policy.clone());
    route.headers = route.headers.or_else(|| headers.clone());
    if route.mirror.is_none() && route.mirrors.is_empty() {
        route.mirror.clone_from(mirror);
        route.mirrors.clone_from(&root.mirrors);
        route.mirror_percentage.clone_from(&root.mirror_percentage);
        route.mirror_percent = root.mirror_percent;
    }
    Some(route)
}

/// Each pair that can both hold; `None` if there are matches and no such pair.
fn combine_matches(root: &[HttpMatch], leaf: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    match (root, leaf) {
        ([], all) | (all, []) => Some(all.to_vec()),
        _ => {
            let pairs = root.iter().flat_map(|one| leaf.iter().map(move |other| (one, other)));
            let both: Vec<HttpMatch> = pairs.filter_map(|(one, other)| pair(one, other)).collect();
            (!both.is_empty()).then_some(both)
        }
    }
}

fn pair(root: &HttpMatch, leaf: &HttpMatch) -> Option<HttpMatch> {
    let differ = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
    if (root.port != 0 && leaf.port != 0 && root.port != leaf.port)
        || differ(&root.source_namespace, &leaf.source_namespace)
        || (root.uri.is_some()
            && leaf.uri.is_some()
            && root.ignore_uri_case != leaf.ignore_uri_case)
    {
        return None;
    }
    let uri_case = if leaf.uri.is_some() { leaf.ignore_uri_case } else { root.ignore_uri_case };
    Some(HttpMatch {
        name: if leaf.name.is_empty() { root.name.clone() } else { leaf.name.clone() },
        uri: both(root.uri.as_ref(), leaf.uri.as_ref())?,
        ignore_uri_case: uri_case,
        scheme: both(root.scheme.as_ref(), leaf.scheme.as_ref())?,
        method: both(root.method.as_ref(), leaf.method.as_ref())?,
        authority: both(root.authority.as_ref(), leaf.authority.as_ref())?,
        headers: all(&root.headers, &leaf.headers)?,
        without_headers: all(&root.without_headers, &leaf.without_headers)?,
        query_params: all(&root.query_params, &leaf.query_params)?,
        port: if leaf.port == 0 { root.port } else { leaf.port },
        source_labels: labels(&root.source_labels, &leaf.source_labels)?,
        source_namespace: match leaf.source_namespace.as_str() {
            "" => root.source_namespace.clone(),
            own => own.to_owned(),
        },
        // Gateways are the root's alone: a delegate has none.
        gateways: root.gateways.clone(),
        stat_prefix: match leaf.stat_prefix.as_str() {
            "" => root.stat_prefix.clone(),
            own => own.to_owned(),
        },
    })
}

/// The narrower of two texts; `None` outside if they cannot both hold.
#[expect(clippy::option_option, reason = "no text at all is one of the answers")]
fn both(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> Option<Option<StringMatch>> {
    let (Some(one), Some(other)) = (root, leaf) else {
        return Some(leaf.or(root).cloned());
    };
    let fits = match (one, other) {
        (StringMatch { exact: Some(one), .. }, StringMatch { exact: Some(other), .. }) => {
            one == other
        }
        (StringMatch { prefix: Some(one), .. }, StringMatch { exact: Some(other), .. })
        | (StringMatch { prefix: Some(one), .. }, StringMatch { prefix: Some(other), .. }) => {
            other.starts_with(one.as_str())
        }
        // Whether one pattern covers another is not known.
        _ => false,
    };
    fits.then(|| Some(other.clone()))
}

fn all(
    root: &BTreeMap<String, StringMatch>,
    leaf: &BTreeMap<String, StringMatch>,
) -> Option<BTreeMap<String, StringMatch>> {
    let mut texts = root.clone();
    for (name, text) in leaf {
        let text = both(root.get(name), Some(text))??;
        texts.insert(name.clone(), text);
    }
    Some(texts)
}

fn labels(root: &Labels, leaf: &Labels) -> Option<Labels> {
    let mut labels = root.clone();
    for (key, value) in leaf {
        match labels.insert(key.clone(), value.clone()) {
            Some(other) if other != *value => return None,
            _ => {}
        }
    }
    Some(labels)
}
