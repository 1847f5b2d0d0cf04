//! What `analyze` alone refuses, and why no schema says it. Nothing is refused by the server alone.

/// What only `analyze` can say.
#[derive(Debug)]
pub(crate) struct Known {
    /// The beginning of the kind.
    kind: &'static str,
    code: &'static str,
    /// The end of the field, whose beginning differs by where such a thing stands.
    field: &'static str,
    /// Why it stays.
    pub(crate) reason: &'static str,
}

impl Known {
    /// Whether this is that one.
    pub(crate) fn is(&self, kind: &str, what: &str) -> bool {
        let (code, field) = what.split_once(' ').unwrap_or((what, ""));
        kind.starts_with(self.kind) && code == self.code && field.ends_with(self.field)
    }
}

/// The server's budget for expressions does not allow it.
const PAIRS: &str = "each item is compared with every other one: over the budget for expressions";
const KEYS: &str = "only expressions see the keys of a mapping: over their budget below a list";
const SUM: &str = "only expressions add up: over their budget below a list";
const TWO_TEXTS: &str = "only expressions compare two texts: over their budget below a list";
/// A schema has no words for it.
const REGEX: &str = "a schema cannot say whether a text is a regular expression";
const VARIABLE: &str = "a schema cannot follow quotes within the variables of a header's value";
const PRIME: &str = "a schema cannot say whether a number is prime";
const JSON: &str = "a schema cannot look into a JSON text";
/// The server's expressions do not see it.
const METADATA: &str = "expressions see no more of the metadata than the name";

const fn known(
    kind: &'static str,
    code: &'static str,
    field: &'static str,
    reason: &'static str,
) -> Known {
    Known { kind, code, field, reason }
}

/// See the module.
pub(crate) const KNOWN: &[Known] = &[
    known("DestinationRule of", "SK0213", ".subsets[].labels", KEYS),
    known("DestinationRule of", "SK0217", ".exportTo[]", PAIRS),
    known("DestinationRule of", "SK0228", ".distribute[].to", SUM),
    known("DestinationRule of", "SK0228", ".maglev.tableSize", PRIME),
    known("DestinationRule of", "SK0230", ".distribute", PAIRS),
    known("DestinationRule of", "SK0230", ".distribute[].to", KEYS),
    known("DestinationRule of", "SK0230", ".httpCookie.attributes[].name", PAIRS),
    known("DestinationRule of", "SK0230", ".subsets[].name", PAIRS),
    known("DestinationRule of", "SK0231", ".failover[]", TWO_TEXTS),
    known("DestinationRule of", "SK0233", ".tls.credentialName", METADATA),
    known("Gateway of", "SK0208", ".servers[].port.name", PAIRS),
    known("GatewayRoute of", "SK0232", ".regex", REGEX),
    known("RequestAuthentication of", "SK0232", ".jwks", JSON),
    known("ServiceEntry of", "SK0212", ".endpoints[].ports[]", PAIRS),
    known("ServiceEntry of", "SK0213", ".endpoints[].labels", KEYS),
    known("ServiceEntry of", "SK0216", ".location", METADATA),
    known("ServiceEntry of", "SK0217", ".exportTo[]", PAIRS),
    known("Sidecar of", "SK0221", ".egress[].port.number", PAIRS),
    known("Sidecar of", "SK0224", ".ingress[].port.number", PAIRS),
    known("VirtualNode of", "SK0230", ".backends[].virtualService", PAIRS),
    known("VirtualRouter of", "SK0230", ".routes[].name", PAIRS),
    known("VirtualRouter of", "SK0232", ".regex", REGEX),
    known("VirtualService of networking", "SK0202", ".match[].sniHosts[]", PAIRS),
    known("VirtualService of networking", "SK0213", ".match[].sourceLabels", KEYS),
    known("VirtualService of networking", "SK0217", ".exportTo[]", PAIRS),
    known("VirtualService of networking", "SK0226", ".headers.request", KEYS),
    known("VirtualService of networking", "SK0226", ".headers.response", KEYS),
    known("VirtualService of networking", "SK0230", ".hosts[]", PAIRS),
    known("VirtualService of networking", "SK0231", ".headers[]", KEYS),
    known("VirtualService of networking", "SK0231", ".withoutHeaders[]", KEYS),
    known("VirtualService of networking", "SK0231", ".headers.request.set", KEYS),
    known("VirtualService of networking", "SK0231", ".set[]", KEYS),
    known("VirtualService of networking", "SK0231", ".add[]", KEYS),
    known("VirtualService of networking", "SK0232", ".headers[]", KEYS),
    known("VirtualService of networking", "SK0232", ".withoutHeaders[]", KEYS),
    known("VirtualService of networking", "SK0232", ".queryParams[]", REGEX),
    known("VirtualService of networking", "SK0232", ".uri", REGEX),
    known("VirtualService of networking", "SK0232", ".scheme", REGEX),
    known("VirtualService of networking", "SK0232", ".method", REGEX),
    known("VirtualService of networking", "SK0232", ".authority", REGEX),
    known("VirtualService of networking", "SK0232", ".uriRegexRewrite.match", REGEX),
    known("VirtualService of networking", "SK0232", ".allowOrigins[]", REGEX),
    known("VirtualService of networking", "SK0232", ".set[]", VARIABLE),
    known("VirtualService of networking", "SK0232", ".add[]", VARIABLE),
];
