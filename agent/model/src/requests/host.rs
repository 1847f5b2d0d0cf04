//! Names that requests are for, and which of several is the most specific.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

/// A name, `*` with a suffix, or `*`; in lower case. An IP is a name too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Domain(String);

impl Domain {
    /// A domain as manifests write it.
    pub fn new(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        Self(lower.strip_suffix('.').unwrap_or(&lower).to_owned())
    }

    /// Every name.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for more than itself.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether it stands for every name that the other stands for. `*.a` never covers `a`.
    pub fn covers(&self, other: &Self) -> bool {
        match self.0.strip_prefix('*') {
            Some("") => true,
            Some(suffix) => other.0.len() > suffix.len() && other.0.ends_with(suffix),
            None => self == other,
        }
    }

    /// Of two domains that cover a name the one with the greater rank is for it: an exact one
    /// before a wildcard, a longer wildcard before a shorter one.
    pub fn rank(&self) -> (bool, usize) {
        (!self.is_wildcard(), self.0.len())
    }

    /// The name that a `Host` header gives: without its port, in lower case.
    pub fn of_authority(authority: &str) -> Self {
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if is_port(port) && !host.contains(':') => host,
            Some((host, port)) if is_port(port) && host.ends_with(']') => host,
            _ => authority,
        };
        Self::new(host.trim_start_matches('[').trim_end_matches(']'))
    }
}

impl From<IpAddr> for Domain {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string())
    }
}

/// The most specific of some domains that covers a name.
pub fn most_specific<'a, T>(
    domains: impl IntoIterator<Item = (&'a Domain, T)>,
    name: &Domain,
) -> Option<T> {
    let covering = domains.into_iter().filter(|(domain, _)| domain.covers(name));
    // Of equal ones the first counts, and `max_by_key` takes the last.
    let best = covering.reduce(|best, one| if one.0.rank() > best.0.rank() { one } else { best });
    best.map(|(_, value)| value)
}

/// The same among many: the name itself, else the most specific wildcard. Wildcards stand together
/// at one end of the map, so nothing else is looked at.
pub(crate) fn most_specific_of<'a, T>(
    all: &'a BTreeMap<Domain, T>,
    name: &Domain,
    fits: impl Fn(&T) -> bool,
) -> Option<&'a T> {
    if let Some(exact) = all.get(name).filter(|exact| fits(exact)) {
        return Some(exact);
    }
    let wildcards = Domain("*".to_owned())..Domain("+".to_owned());
    let wildcards = all.range(wildcards).filter(|(_, value)| fits(value));
    most_specific(wildcards, name)
}

/// What is kept under each domain that covers a name, or that the name covers.
pub(crate) fn covering<T>(all: &BTreeMap<Domain, T>, name: Domain) -> impl Iterator<Item = &T> {
    let (wildcards, others) = if name.is_wildcard() {
        (None, Some(all.iter()))
    } else {
        let from = Domain("*".to_owned())..Domain("+".to_owned());
        (Some(all.range(from)), None)
    };
    let exact = all.get(&name).filter(|_| !name.is_wildcard());
    let rest = wildcards.into_iter().flatten().chain(others.into_iter().flatten());
    let rest = rest.filter(move |(domain, _)| domain.covers(&name) || name.covers(domain));
    exact.into_iter().chain(rest.map(|(_, kept)| kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edge_9_the_port_in_a_host_header_is_ignored() {
        for (authority, name) in [
            ("Reviews:9080", "reviews"),
            ("reviews", "reviews"),
            ("reviews.default.svc.cluster.local.:80", "reviews.default.svc.cluster.local"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("203.0.113.1:80", "203.0.113.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(Domain::of_authority(authority).as_str(), name, "{authority}");
        }
    }

    #[test]
    fn looking_up_is_looking_through() {
        let all = ["*", "*.com", "*.foo.com", "*-a.foo.com", "foo.com", "a.foo.com", "+x", "0.com"];
        let map: BTreeMap<Domain, &str> = all.iter().map(|one| (Domain::new(one), *one)).collect();
        for name in all.iter().chain(&["b.foo.com", "x-a.foo.com", "org", "1.com"]) {
            let name = Domain::new(name);
            for without in ["", "*.com", "a.foo.com", "*"] {
                let fits = |one: &&str| *one != without;
                let slow = most_specific(map.iter().filter(|(_, one)| fits(one)), &name);
                assert_eq!(most_specific_of(&map, &name, fits), slow, "{name:?} {without}");
            }
        }
    }

    #[test]
    fn an_exact_name_beats_a_wildcard_and_a_longer_wildcard_a_shorter_one() {
        let domains = ["*", "*.com", "*.foo.com", "foo.com", "a.foo.com"].map(Domain::new);
        let find = |name: &str| {
            let pairs = domains.iter().map(|domain| (domain, domain.as_str()));
            most_specific(pairs, &Domain::new(name))
        };
        assert_eq!(find("a.foo.com"), Some("a.foo.com"));
        assert_eq!(find("b.foo.com"), Some("*.foo.com"));
        assert_eq!(find("foo.com"), Some("foo.com"));
        assert_eq!(find("bar.com"), Some("*.com"));
        assert_eq!(find("com"), Some("*"), "a wildcard never matches the bare parent");
        assert!(!Domain::new("*foo.com").covers(&Domain::new("foo.com")), "one letter at least");
    }
}
