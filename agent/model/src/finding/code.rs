//! The codes of findings. A code never changes its meaning. Where `istioctl analyze` has a message
//! with the same meaning, the code is Istio's; `SK01xx` is about reading, `SK02xx` about a field's
//! value, `SK03xx` about what an object means here, `SK04xx` about pods.

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal),+ $(,)?) => {
        $($(#[doc = $doc])+ pub const $name: &str = $code;)+

        /// Every code with its meaning.
        pub const ALL: &[(&str, &str)] = &[$(($code, concat!($($doc),+))),+];
    };
}

codes! {
    /// The kind is not read.
    KIND_NOT_READ = "SK0101",
    /// The field is not read.
    FIELD_NOT_READ = "SK0102",
    /// The field is understood, and has no effect here.
    FIELD_WITHOUT_EFFECT = "SK0103",
    /// The object cannot be read.
    UNREADABLE = "IST0106",
    /// A list that must not be empty is, or is too long.
    COUNT = "SK0201",
    /// A host is not a DNS name.
    HOST = "SK0202",
    /// A wildcard covers a part of a label.
    PARTIAL_WILDCARD = "SK0203",
    /// An address is neither an IP nor a CIDR.
    ADDRESS = "SK0204",
    /// A CIDR with a resolution that takes only IPs.
    CIDR_WITH_RESOLUTION = "SK0205",
    /// A port number is out of range.
    PORT_NUMBER = "SK0206",
    /// A port's name is not a DNS label.
    PORT_NAME = "SK0207",
    /// Two ports with one name or one number.
    PORT_TWICE = "SK0208",
    /// A protocol that does not exist.
    PROTOCOL = "SK0209",
    /// Endpoints and a selector, or either with a resolution that has none.
    ENDPOINTS_WITH = "SK0210",
    /// An endpoint's address is not what the resolution takes.
    ENDPOINT_ADDRESS = "SK0211",
    /// An endpoint's port is not one of the entry's.
    ENDPOINT_PORT = "SK0212",
    /// A label or a selector that no object can have.
    LABEL = "SK0213",
    /// Several hosts on a port that cannot tell them apart.
    HOSTS_ON_TCP = "SK0214",
    /// A wildcard host that would have to be resolved.
    WILDCARD_RESOLUTION = "SK0215",
    /// Something that `DYNAMIC_DNS` does not take.
    DYNAMIC_DNS = "SK0216",
    /// `exportTo` contradicts itself or names no namespace.
    EXPORT_TO = "SK0217",
    /// A Sidecar that says nothing.
    EMPTY_SIDECAR = "SK0218",
    /// An egress host that is not `namespace/dnsName`.
    EGRESS_HOST = "SK0219",
    /// An egress host that another one covers.
    EGRESS_HOST_TWICE = "SK0220",
    /// Egress listeners whose ports clash or stand in the wrong order.
    EGRESS_PORT = "SK0221",
    /// An outbound traffic policy that contradicts itself.
    OUTBOUND_POLICY = "SK0222",
    /// A listener's bind address is wrong for its port.
    BIND = "SK0223",
    /// A listener for what comes in is wrong.
    INGRESS = "SK0224",
    /// A selector without labels selects all.
    EMPTY_SELECTOR = "SK0225",
    /// A field that must be there is not.
    REQUIRED = "SK0226",
    /// Of several fields exactly one, or at most one, may be there.
    ONE_OF = "SK0227",
    /// A value is out of its range.
    RANGE = "SK0228",
    /// A time that is none, too short or too fine.
    DURATION = "SK0229",
    /// Something is there twice.
    TWICE = "SK0230",
    /// A field that does not go with another.
    CONFLICT = "SK0231",
    /// A pattern that matches nothing or cannot be read.
    PATTERN = "SK0232",
    /// A name or a reference that no object can have.
    REFERENCE = "SK0233",
    /// Part of a match is ignored because of another part.
    MATCH_IGNORED = "SK0234",
    /// A rule about requests that denies every connection to a TCP port, too.
    DENIES_ALL_TCP = "SK0235",
    /// A field or a form that is there for old objects only.
    DEPRECATED = "IST0002",
    /// A match that another one before it has already.
    INEFFECTIVE_MATCH = "IST0131",
    /// A rule that no request reaches.
    UNREACHABLE_RULE = "IST0130",
    /// Addresses are needed for this protocol; without them every address on the port is allowed.
    ADDRESSES_NEEDED = "IST0134",
    /// Several Sidecars select one pod.
    SIDECARS_OVERLAP = "IST0110",
    /// Several Sidecars without selector in one namespace.
    SIDECARS_WITHOUT_SELECTOR = "IST0111",
    /// Part of the object cannot be honoured.
    NOT_SUPPORTED = "SK0302",
    /// A Service, or another name, without an address that a rule could name.
    NO_ADDRESS = "SK0303",
    /// A rule that never matches.
    SHADOWED = "SK0304",
    /// A whole port is open.
    WHOLE_PORT_OPEN = "SK0305",
    /// An address is a pod's.
    ADDRESS_IS_A_PODS = "SK0306",
    /// An allowlist entry where everything is allowed anyhow.
    NO_ALLOWLIST = "SK0307",
    /// A server-first protocol on a port whose protocol has to be detected.
    SERVER_FIRST = "SK0308",
    /// An entry that allows nothing.
    ALLOWS_NOTHING = "SK0310",
    /// A name has no address, so nothing is allowed for it.
    UNRESOLVED = "SK0331",
    /// A name has more addresses than fit.
    TOO_MANY_ADDRESSES = "SK0332",
    /// An `ExternalName` that leads back to itself.
    ALIAS_LOOP = "SK0333",
    /// An `ExternalName` that allows nothing by itself.
    ALIAS_WITHOUT_PORTS = "SK0334",
    /// Something that an object names does not exist: a namespace, a host, a subset, a gateway.
    REFERENCE_UNKNOWN = "IST0101",
    /// Several objects route one host for one client.
    HOSTS_CONFLICT = "IST0109",
    /// A destination of a service with several ports does not say which.
    PORT_NEEDED = "IST0112",
    /// A host that no server of the gateway serves.
    HOST_NOT_SERVED = "IST0132",
    /// Two gateways serve one host on one port of the same pods.
    GATEWAYS_CONFLICT = "IST0145",
    /// An old object stands beside a new one that takes its place.
    SUPERSEDED = "SK0309",
    /// An object or a pod is in no mesh where it must be in one, or would be in several.
    MEMBERSHIP = "SK0341",
    /// A pod is in the meshes of two dialects.
    TWO_MESHES = "SK0342",
    /// A revision that no settings and no tag have.
    REVISION_UNKNOWN = "SK0343",
    /// An object that governs the pod is refused: the pod is judged by the stricter reading.
    REFUSED_GOVERNS = "SK0344",
    /// An enrolled pod whose network namespace is not known.
    NO_NETNS = "SK0401",
    /// An annotation's value cannot be read.
    ANNOTATION = "IST0108",
    /// A pod's address cannot be read.
    POD_ADDRESS = "SK0402",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_used_for_one_meaning() {
        let codes: BTreeSet<&str> = super::ALL.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), super::ALL.len());
    }
}
