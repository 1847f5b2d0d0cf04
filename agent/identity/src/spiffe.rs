//! The name of a workload: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`, read strictly.
//!
//! A name that reads in two ways would let one workload speak for another. So there is one spelling of
//! each name: no port, user, query, fragment, escape, empty segment or capital letter.

use std::{fmt, str::FromStr, sync::Arc};

/// The most bytes of a name (SPIFFE-ID 2.3).
const LONGEST: usize = 2048;
/// The most bytes of a trust domain (SPIFFE-ID 2.1).
const LONGEST_DOMAIN: usize = 255;
/// The most bytes of a namespace's name and of a `ServiceAccount`'s (RFC 1123, as Kubernetes reads it).
const LONGEST_NAMESPACE: usize = 63;
const LONGEST_ACCOUNT: usize = 253;

/// Why a text is no [`SpiffeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// It has another form.
    #[error("an identity is spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
    Shape,
    /// It is too long.
    #[error("an identity has at most {LONGEST} bytes")]
    Long,
    /// The trust domain is none.
    #[error(
        "a trust domain has 1 to {LONGEST_DOMAIN} of the characters a-z, 0-9, '.', '-' and '_', \
         for instance cluster.local"
    )]
    TrustDomain,
    /// The namespace is none.
    #[error("the namespace in an identity is a DNS label, for instance shop")]
    Namespace,
    /// The `ServiceAccount` is none.
    #[error("the ServiceAccount in an identity is a DNS name, for instance default")]
    ServiceAccount,
}

/// Whose names these are: all workloads that one authority names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// See the module.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    namespace: Arc<str>,
    service_account: Arc<str>,
}

/// The trust domain of a mesh, and the other names that it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomains {
    own: TrustDomain,
    aliases: Vec<TrustDomain>,
}

impl TrustDomain {
    /// The domain as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let fits = |byte: u8| plain(byte) || b".-_".contains(&byte);
        if text.is_empty() || text.len() > LONGEST_DOMAIN || !text.bytes().all(fits) {
            return Err(SpiffeError::TrustDomain);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SpiffeId {
    /// The name of a `ServiceAccount`'s workloads.
    pub fn new(
        trust_domain: TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeError> {
        if namespace.len() > LONGEST_NAMESPACE || !is_label(namespace) {
            return Err(SpiffeError::Namespace);
        }
        if service_account.len() > LONGEST_ACCOUNT || !service_account.split('.').all(is_label) {
            return Err(SpiffeError::ServiceAccount);
        }
        let (namespace, service_account) = (namespace.into(), service_account.into());
        Ok(Self { trust_domain, namespace, service_account })
    }

    /// Who named it.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of its `ServiceAccount`.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > LONGEST {
            return Err(SpiffeError::Long);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(SpiffeError::Shape)?;
        let mut segments = rest.split('/');
        let mut next = || segments.next().ok_or(SpiffeError::Shape);
        let (domain, ns, namespace, sa, account) = (next()?, next()?, next()?, next()?, next()?);
        if ns != "ns" || sa != "sa" || segments.next().is_some() {
            return Err(SpiffeError::Shape);
        }
        Self::new(domain.parse()?, namespace, account)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account } = self;
        write!(f, "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TrustDomains {
    /// A mesh's own domain and its aliases.
    pub fn new(own: TrustDomain, aliases: Vec<TrustDomain>) -> Self {
        Self { own, aliases }
    }

    /// The domain that the mesh's own certificates name.
    pub fn own(&self) -> &TrustDomain {
        &self.own
    }

    /// Whether a peer of this domain is one of the mesh.
    pub fn contains(&self, domain: &TrustDomain) -> bool {
        *domain == self.own || self.aliases.contains(domain)
    }
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A DNS label as Kubernetes takes it.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.into_iter().all(|end| end.copied().is_some_and(plain))
        && bytes.iter().all(|byte| plain(*byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_as_it_is_written() {
        for text in [
            "spiffe://cluster.local/ns/shop/sa/web",
            "spiffe://td-1_x/ns/a/sa/b.c-d",
            "spiffe://10.0.0.1/ns/shop-2/sa/default",
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_identity_has_one_spelling() {
        let namespace = format!("spiffe://td/ns/{}/sa/web", "n".repeat(64));
        let account = format!("spiffe://td/ns/shop/sa/{}", "s".repeat(254));
        let domain = format!("spiffe://{}/ns/shop/sa/web", "t".repeat(256));
        for wrong in [
            "",
            "cluster.local/ns/shop/sa/web",
            "SPIFFE://td/ns/shop/sa/web",
            "spiffe:/td/ns/shop/sa/web",
            "https://td/ns/shop/sa/web",
            "spiffe://td/ns/shop/sa/web/",
            "spiffe://td/ns/shop/sa/web/extra",
            "spiffe://td/ns/shop/sa/",
            "spiffe://td/ns//sa/web",
            "spiffe:///ns/shop/sa/web",
            "spiffe://td//ns/shop/sa/web",
            "spiffe://td/sa/web/ns/shop",
            "spiffe://td:8443/ns/shop/sa/web",
            "spiffe://user@td/ns/shop/sa/web",
            "spiffe://TD/ns/shop/sa/web",
            "spiffe://td/ns/Shop/sa/web",
            "spiffe://td/ns/shop/sa/web?x=1",
            "spiffe://td/ns/shop/sa/web#x",
            "spiffe://td/ns/shop/sa/we%62",
            "spiffe://td/ns/sh.op/sa/web",
            "spiffe://td/ns/../sa/web",
            "spiffe://td/ns/shop/sa/..",
            "spiffe://td/ns/shop/sa/web.",
            "spiffe://td/ns/shop/sa/-web",
            "spiffe://td/ns/shop/sa/web\u{0}",
            "spiffe://td/ns/shop/sa/w\u{00e9}b",
            " spiffe://td/ns/shop/sa/web",
            &namespace,
            &account,
            &domain,
        ] {
            assert!(wrong.parse::<SpiffeId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_alias_is_of_the_mesh_and_another_domain_is_not() {
        let domain = |text: &str| text.parse::<TrustDomain>().unwrap();
        let domains = TrustDomains::new(domain("new"), vec![domain("old")]);
        assert!(domains.contains(&domain("new")) && domains.contains(&domain("old")));
        assert!(!domains.contains(&domain("other")));
    }
}
