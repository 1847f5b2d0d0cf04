//! What leads a request to its endpoint, where its destination hashes.

use std::{net::IpAddr, time::Duration};

use agent_model::requests::policy::{Balance, HashKey};

use super::asked::AskedFor;
use crate::cluster::hash;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    /// The number of the key; none leads to any endpoint.
    pub(super) key: Option<u64>,
    /// A cookie that the client is to keep.
    pub(super) set_cookie: Option<String>,
}

impl Sticky {
    /// Of a request from this address.
    pub(super) fn of(request: &AskedFor<'_>, from: IpAddr, balance: &Balance) -> Self {
        let Balance::Hash { key, .. } = balance else { return Self::default() };
        let of = |text: String| Self { key: Some(hash(text.as_bytes())), set_cookie: None };
        match key {
            HashKey::Header(name) => request.header(name).map(of).unwrap_or_default(),
            HashKey::Query(name) => request.parameter(name).map(of).unwrap_or_default(),
            HashKey::SourceAddress => of(from.to_string()),
            HashKey::Cookie { name, path, ttl, attributes } => match (request.cookie(name), ttl) {
                (Some(value), _) => of(value),
                (None, None) => Self::default(),
                (None, Some(ttl)) => {
                    let value = format!("{:016x}", fastrand::u64(..));
                    let key = Some(hash(value.as_bytes()));
                    let line = set_cookie(name, &value, path, *ttl, attributes);
                    Self { key, set_cookie: Some(line) }
                }
            },
        }
    }
}

/// Envoy's form. A time of zero is a cookie for the session.
fn set_cookie(
    name: &str,
    value: &str,
    path: &str,
    ttl: Duration,
    attributes: &[(String, String)],
) -> String {
    let mut parts = vec![format!("{name}=\"{value}\"")];
    if !ttl.is_zero() {
        parts.push(format!("Max-Age={}", ttl.as_secs()));
    }
    if !path.is_empty() {
        parts.push(format!("Path={path}"));
    }
    parts.extend(attributes.iter().map(|(name, value)| {
        if value.is_empty() { name.clone() } else { format!("{name}={value}") }
    }));
    parts.push("HttpOnly".to_owned());
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_set_as_envoy_sets_it() {
        let attributes =
            [("SameSite".to_owned(), "Strict".to_owned()), ("Secure".to_owned(), String::new())];
        let ttl = Duration::from_secs(4);
        assert_eq!(
            set_cookie("user", "1f", "/app", ttl, &attributes),
            "user=\"1f\"; Max-Age=4; Path=/app; SameSite=Strict; Secure; HttpOnly"
        );
        assert_eq!(set_cookie("user", "1f", "", Duration::ZERO, &[]), "user=\"1f\"; HttpOnly");
    }
}
