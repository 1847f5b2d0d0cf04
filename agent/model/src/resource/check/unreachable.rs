//! Rules and matches of a `VirtualService` that nothing gets to, since one before them has it all.

use super::Report;
use crate::{
    finding::code,
    resource::virtual_service::{HttpMatch, L4Match, TlsMatch, VirtualServiceSpec},
};

pub(super) fn check(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    let http: Vec<&[HttpMatch]> = spec.http.iter().map(|rule| &rule.matches[..]).collect();
    let tls: Vec<&[TlsMatch]> = spec.tls.iter().map(|rule| &rule.matches[..]).collect();
    let tcp: Vec<&[L4Match]> = spec.tcp.iter().map(|rule| &rule.matches[..]).collect();
    check_rules(&http, "spec.http", report);
    check_rules(&tls, "spec.tls", report);
    check_rules(&tcp, "spec.tcp", report);
}

/// What a rule asks for.
trait Asks {
    /// Whether nothing escapes it.
    fn takes_all(&self) -> bool;
    /// Whether all that another asks for is asked for here.
    fn covers(&self, other: &Self) -> bool;
}

impl Asks for HttpMatch {
    /// A prefix of the root, or a pattern for anything.
    fn takes_all(&self) -> bool {
        let by_uri = self.uri.as_ref().is_none_or(|uri| {
            uri.prefix.as_deref() == Some("/") || matches!(uri.regex.as_deref(), Some(".*" | "*"))
        });
        by_uri && rest(self) == Self::default()
    }

    fn covers(&self, other: &Self) -> bool {
        let prefix = |one: &Self| one.uri.as_ref().and_then(|uri| uri.prefix.clone());
        let within = match (prefix(self), prefix(other)) {
            (Some(wide), Some(narrow)) => narrow.starts_with(&wide),
            _ => self.uri == other.uri,
        };
        within && rest(self) == rest(other)
    }
}

/// All but the path and the names that are for people.
fn rest(one: &HttpMatch) -> HttpMatch {
    HttpMatch { uri: None, name: String::new(), stat_prefix: String::new(), ..one.clone() }
}

impl Asks for TlsMatch {
    fn takes_all(&self) -> bool {
        false
    }

    fn covers(&self, other: &Self) -> bool {
        self == other
    }
}

impl Asks for L4Match {
    fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    fn covers(&self, other: &Self) -> bool {
        self == other
    }
}

/// A rule without matches takes everything.
fn check_rules<M: Asks>(rules: &[&[M]], of: &str, report: &mut Report<'_>) {
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{of}[{index}]");
        let is_end = |before: &&[M]| before.is_empty() || before.iter().any(M::takes_all);
        if let Some(end) = rules[..index].iter().position(is_end) {
            let message = format!("{of}[{end}] takes every request: move it to the end");
            report.warn(code::UNREACHABLE_RULE, path, message);
            continue;
        }
        let mut unused = 0;
        for (at, one) in rule.iter().enumerate() {
            let covers = |before: &&[M]| before.iter().any(|other| other.covers(one));
            let before = rules[..index].iter().position(covers);
            let own = covers(&&rule[..at]).then_some(index);
            let Some(before) = before.or(own) else { continue };
            unused += 1;
            let message = format!("{of}[{before}] matches all of this before: remove it");
            report.warn(code::INEFFECTIVE_MATCH, format!("{path}.match[{at}]"), message);
        }
        if unused > 0 && unused == rule.len() {
            let message = "rules before it have all of its matches: remove it, or move it up";
            report.warn(code::UNREACHABLE_RULE, path, message);
        }
    }
}
