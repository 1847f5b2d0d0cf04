//! The codes of findings. A code never changes its meaning. Where `istioctl analyze` has a message
//! with the same meaning, the code is Istio's; `SK01xx` is about reading, `SK02xx` about a field's
//! value, `SK03xx` about what an object means here, `SK04xx` about pods, `SK05xx` about
//! certificates.

use super::Severity;

/// A code, what it means, and how bad what it is told of may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code {
    /// As people see it.
    pub name: &'static str,
    /// In a sentence.
    pub meaning: &'static str,
    /// The worst first.
    pub severities: &'static [Severity],
}

/// Whether there is such a code, and something of it may be so bad.
pub fn allows(code: &str, severity: Severity) -> bool {
    ALL.iter().any(|one| one.name == code && one.severities.contains(&severity))
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal: $($severity:ident)+),+ $(,)?) => {
        $($(#[doc = $doc])+ pub const $name: &str = $code;)+

        /// Every code.
        pub const ALL: &[Code] = &[$(Code {
            name: $code,
            meaning: concat!($($doc),+),
            severities: &[$(Severity::$severity),+],
        }),+];
    };
}

codes! {
    /// The kind is not read.
    KIND_NOT_READ = "SK0101": Info,
    /// The field is not read.
    FIELD_NOT_READ = "SK0102": Warning Info,
    /// The field is understood, and has no effect here.
    FIELD_WITHOUT_EFFECT = "SK0103": Warning Info,
    /// The object cannot be read.
    UNREADABLE = "IST0106": Error,
    /// A list that must not be empty is, or is too long.
    COUNT = "SK0201": Error Warning,
    /// A host is not a DNS name.
    HOST = "SK0202": Error Warning,
    /// A wildcard covers a part of a label.
    PARTIAL_WILDCARD = "SK0203": Warning,
    /// An address is neither an IP nor a CIDR.
    ADDRESS = "SK0204": Error,
    /// A CIDR with a resolution that takes only IPs.
    CIDR_WITH_RESOLUTION = "SK0205": Error,
    /// A port number is out of range.
    PORT_NUMBER = "SK0206": Error Warning,
    /// A port's name is not a DNS label.
    PORT_NAME = "SK0207": Error,
    /// Two ports with one name or one number.
    PORT_TWICE = "SK0208": Error Warning,
    /// A protocol that does not exist.
    PROTOCOL = "SK0209": Error,
    /// Endpoints and a selector, or either with a resolution that has none.
    ENDPOINTS_WITH = "SK0210": Error Warning,
    /// An endpoint's address is not what the resolution takes.
    ENDPOINT_ADDRESS = "SK0211": Error Warning,
    /// An endpoint's port is not one of the entry's.
    ENDPOINT_PORT = "SK0212": Error,
    /// A label or a selector that no object can have.
    LABEL = "SK0213": Error,
    /// Several hosts on a port that cannot tell them apart.
    HOSTS_ON_TCP = "SK0214": Error Warning,
    /// A wildcard host that would have to be resolved.
    WILDCARD_RESOLUTION = "SK0215": Error,
    /// Something that `DYNAMIC_DNS` does not take.
    DYNAMIC_DNS = "SK0216": Error,
    /// `exportTo` contradicts itself or names no namespace.
    EXPORT_TO = "SK0217": Error,
    /// A Sidecar that says nothing.
    EMPTY_SIDECAR = "SK0218": Error,
    /// An egress host that is not `namespace/dnsName`.
    EGRESS_HOST = "SK0219": Error,
    /// An egress host that another one covers.
    EGRESS_HOST_TWICE = "SK0220": Warning,
    /// Egress listeners whose ports clash or stand in the wrong order.
    EGRESS_PORT = "SK0221": Error,
    /// An outbound traffic policy that contradicts itself.
    OUTBOUND_POLICY = "SK0222": Error,
    /// A listener's bind address is wrong for its port.
    BIND = "SK0223": Error,
    /// A listener for what comes in is wrong.
    INGRESS = "SK0224": Error,
    /// A selector without labels selects all.
    EMPTY_SELECTOR = "SK0225": Warning,
    /// A field that must be there is not.
    REQUIRED = "SK0226": Error Warning,
    /// Of several fields exactly one, or at most one, may be there.
    ONE_OF = "SK0227": Error Warning,
    /// A value is out of its range.
    RANGE = "SK0228": Error Warning,
    /// A time that is none, too short or too fine.
    DURATION = "SK0229": Error,
    /// Something is there twice.
    TWICE = "SK0230": Error Warning,
    /// A field that does not go with another.
    CONFLICT = "SK0231": Error Warning,
    /// A pattern that matches nothing or cannot be read.
    PATTERN = "SK0232": Error Warning,
    /// A name or a reference that no object can have.
    REFERENCE = "SK0233": Error Warning,
    /// Part of a match is ignored because of another part.
    MATCH_IGNORED = "SK0234": Warning,
    /// A rule about requests that denies every connection to a TCP port, too.
    DENIES_ALL_TCP = "SK0235": Warning,
    /// A field or a form that is there for old objects only.
    DEPRECATED = "IST0002": Warning,
    /// A match that another one before it has already.
    INEFFECTIVE_MATCH = "IST0131": Warning,
    /// A rule that no request reaches.
    UNREACHABLE_RULE = "IST0130": Warning,
    /// Addresses are needed for this protocol; without them every address on the port is allowed.
    ADDRESSES_NEEDED = "IST0134": Warning,
    /// Several Sidecars select one pod.
    SIDECARS_OVERLAP = "IST0110": Warning,
    /// Several Sidecars without selector in one namespace.
    SIDECARS_WITHOUT_SELECTOR = "IST0111": Warning,
    /// Part of the object cannot be honoured.
    NOT_SUPPORTED = "SK0302": Warning Info,
    /// A Service, or another name, without an address that a rule could name.
    NO_ADDRESS = "SK0303": Warning Info,
    /// A rule that never matches.
    SHADOWED = "SK0304": Warning,
    /// A whole port is open.
    WHOLE_PORT_OPEN = "SK0305": Warning,
    /// An address is a pod's.
    ADDRESS_IS_A_PODS = "SK0306": Warning,
    /// An allowlist entry where everything is allowed anyhow.
    NO_ALLOWLIST = "SK0307": Info,
    /// A server-first protocol on a port whose protocol has to be detected.
    SERVER_FIRST = "SK0308": Warning,
    /// An entry that allows nothing.
    ALLOWS_NOTHING = "SK0310": Warning,
    /// A name has no address, so nothing is allowed for it.
    UNRESOLVED = "SK0331": Warning,
    /// A name has more addresses than fit.
    TOO_MANY_ADDRESSES = "SK0332": Warning,
    /// An `ExternalName` that leads back to itself.
    ALIAS_LOOP = "SK0333": Warning,
    /// An `ExternalName` that allows nothing by itself.
    ALIAS_WITHOUT_PORTS = "SK0334": Info,
    /// A TCP port that is reached at what the host resolves to, where Istio takes every address.
    RESOLVED_ALONE = "SK0335": Info,
    /// Something that an object names does not exist: a namespace, a host, a subset, a gateway.
    REFERENCE_UNKNOWN = "IST0101": Error Warning,
    /// Several objects route one host for one client.
    HOSTS_CONFLICT = "IST0109": Error,
    /// A destination of a service with several ports does not say which.
    PORT_NEEDED = "IST0112": Warning,
    /// A host that no server of the gateway serves.
    HOST_NOT_SERVED = "IST0132": Warning,
    /// Two gateways serve one host on one port of the same pods.
    GATEWAYS_CONFLICT = "IST0145": Error,
    /// An old object stands beside a new one that takes its place.
    SUPERSEDED = "SK0309": Warning,
    /// An object or a pod is in no mesh where it must be in one, or would be in several.
    MEMBERSHIP = "SK0341": Error Warning,
    /// A pod is in the meshes of two dialects.
    TWO_MESHES = "SK0342": Warning,
    /// A revision that no settings and no tag have.
    REVISION_UNKNOWN = "SK0343": Error,
    /// An object that governs the pod is refused: the pod is judged by the stricter reading.
    REFUSED_GOVERNS = "SK0344": Error,
    /// An enrolled pod whose network namespace is not known.
    NO_NETNS = "SK0401": Warning,
    /// An annotation's value cannot be read.
    ANNOTATION = "IST0108": Error Warning,
    /// A pod's address cannot be read.
    POD_ADDRESS = "SK0402": Warning,
    /// An identity of this node's pods has no certificate, or one that ends and is not renewed.
    CERTIFICATE = "SK0501": Error Warning,
    /// The node's clock and the CA's differ.
    CLOCK = "SK0502": Error Warning,
    /// Certificates are not kept for an agent that restarts.
    NOT_KEPT = "SK0503": Warning Info,
    /// A pod takes mutual TLS alone, and its node has no CA.
    STRICT_WITHOUT_CA = "SK0504": Warning,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_used_for_one_meaning() {
        let codes: BTreeSet<&str> = super::ALL.iter().map(|code| code.name).collect();
        assert_eq!(codes.len(), super::ALL.len());
        for code in super::ALL {
            assert!(code.severities.is_sorted_by(|one, other| one > other), "{code:?}");
        }
    }
}
