//! What only one of the two refuses, and why that stays so.

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The agent and `sekisho analyze`.
    Analyze,
    /// The API server.
    Server,
}

/// A disagreement that was looked at.
#[derive(Debug)]
pub(crate) struct Known {
    /// The beginning of the kind; empty for all.
    kind: &'static str,
    side: Side,
    /// What is said begins like this.
    what: &'static str,
    /// Why it stays.
    pub(crate) reason: &'static str,
}

impl Known {
    /// Whether this is that one.
    pub(crate) fn is(&self, kind: &str, side: &str, what: &str) -> bool {
        let own = match self.side {
            Side::Analyze => "analyze",
            Side::Server => "server",
        };
        own == side && kind.starts_with(self.kind) && what.starts_with(self.what)
    }
}

/// What a definition could say too, and does not yet.
const NAMES: &str = "not said by the definition yet: what a name, a host or an address looks like";
const VALUES: &str =
    "not said by the definition yet: the range of a value, or what a time looks like";
const EMPTY: &str =
    "not said by the definition yet: an empty text, list or mapping counts as not given";
const TOGETHER: &str = "not said by the definition yet: which fields go with which others";
/// What the server's budget for expressions does not allow.
const PAIRS: &str = "each item is held against every other one, for which there is no budget";
/// What a schema cannot say.
const SET: &str = "an empty text counts as set in a schema, and as not given for Istio";

const fn analyze(kind: &'static str, what: &'static str, reason: &'static str) -> Known {
    Known { kind, side: Side::Analyze, what, reason }
}

const fn server(kind: &'static str, what: &'static str, reason: &'static str) -> Known {
    Known { kind, side: Side::Server, what, reason }
}

/// See the module.
pub(crate) const KNOWN: &[Known] = &[
    analyze("AuthorizationPolicy of", "SK0204 ", NAMES),
    analyze("AuthorizationPolicy of", "SK0206 ", VALUES),
    analyze("AuthorizationPolicy of", "SK0213 ", NAMES),
    analyze("AuthorizationPolicy of", "SK0226 ", EMPTY),
    analyze("AuthorizationPolicy of", "SK0231 ", TOGETHER),
    analyze("AuthorizationPolicy of", "SK0232 ", NAMES),
    analyze("AuthorizationPolicy of", "SK0233 ", NAMES),
    analyze("DestinationRule of", "SK0202 ", NAMES),
    analyze("DestinationRule of", "SK0213 ", NAMES),
    analyze("DestinationRule of", "SK0217 ", NAMES),
    analyze("DestinationRule of", "SK0226 ", EMPTY),
    analyze("DestinationRule of", "SK0227 ", TOGETHER),
    analyze("DestinationRule of", "SK0228 ", VALUES),
    analyze("DestinationRule of", "SK0229 ", VALUES),
    analyze("DestinationRule of", "SK0230 ", PAIRS),
    analyze("DestinationRule of", "SK0231 ", TOGETHER),
    analyze("DestinationRule of", "SK0233 ", NAMES),
    analyze("Gateway of", "SK0202 ", NAMES),
    analyze("Gateway of", "SK0206 ", VALUES),
    analyze("Gateway of", "SK0208 ", PAIRS),
    analyze("Gateway of", "SK0209 ", NAMES),
    analyze("Gateway of", "SK0223 ", NAMES),
    analyze("Gateway of", "SK0226 ", EMPTY),
    analyze("Gateway of", "SK0227 ", TOGETHER),
    analyze("Gateway of", "SK0228 ", VALUES),
    analyze("Gateway of", "SK0231 ", TOGETHER),
    analyze("GatewayRoute of", "SK0226 ", EMPTY),
    analyze("GatewayRoute of", "SK0227 ", TOGETHER),
    analyze("GatewayRoute of", "SK0228 ", VALUES),
    analyze("GatewayRoute of", "SK0231 ", TOGETHER),
    analyze("Mesh of", "SK0213 ", NAMES),
    analyze("PeerAuthentication of", "SK0213 ", NAMES),
    analyze("RequestAuthentication of", "SK0226 ", EMPTY),
    analyze("RequestAuthentication of", "SK0232 ", NAMES),
    analyze("RequestAuthentication of", "SK0233 ", NAMES),
    analyze("ServiceEntry of", "SK0202 ", NAMES),
    analyze("ServiceEntry of", "SK0204 ", NAMES),
    analyze("ServiceEntry of", "SK0208 ", PAIRS),
    analyze("ServiceEntry of", "SK0211 ", NAMES),
    analyze("ServiceEntry of", "SK0212 ", PAIRS),
    analyze("ServiceEntry of", "SK0215 ", TOGETHER),
    analyze("ServiceEntry of", "SK0217 ", NAMES),
    analyze("Sidecar of", "SK0206 ", VALUES),
    analyze("Sidecar of", "SK0207 ", NAMES),
    analyze("Sidecar of", "SK0209 ", NAMES),
    analyze("Sidecar of", "SK0213 ", NAMES),
    analyze("Sidecar of", "SK0218 ", PAIRS),
    analyze("Sidecar of", "SK0219 ", NAMES),
    analyze("Sidecar of", "SK0221 ", PAIRS),
    analyze("Sidecar of", "SK0222 ", TOGETHER),
    analyze("Sidecar of", "SK0223 ", NAMES),
    analyze("Sidecar of", "SK0224 ", TOGETHER),
    analyze("Sidecar of", "SK0226 ", EMPTY),
    analyze("Sidecar of", "SK0228 ", VALUES),
    analyze("Sidecar of", "SK0229 ", VALUES),
    analyze("VirtualGateway of", "SK0213 ", NAMES),
    analyze("VirtualGateway of", "SK0226 ", EMPTY),
    analyze("VirtualGateway of", "SK0228 ", VALUES),
    analyze("VirtualNode of", "SK0213 ", NAMES),
    analyze("VirtualNode of", "SK0226 ", EMPTY),
    analyze("VirtualNode of", "SK0228 ", VALUES),
    analyze("VirtualNode of", "SK0230 ", PAIRS),
    analyze("VirtualRouter of", "SK0226 ", EMPTY),
    analyze("VirtualRouter of", "SK0230 ", PAIRS),
    analyze("VirtualService of networking", "SK0202 ", NAMES),
    analyze("VirtualService of networking", "SK0204 ", NAMES),
    analyze("VirtualService of networking", "SK0206 ", VALUES),
    analyze("VirtualService of networking", "SK0213 ", NAMES),
    analyze("VirtualService of networking", "SK0217 ", NAMES),
    analyze("VirtualService of networking", "SK0226 ", EMPTY),
    analyze("VirtualService of networking", "SK0227 ", TOGETHER),
    analyze("VirtualService of networking", "SK0228 ", VALUES),
    analyze("VirtualService of networking", "SK0230 ", PAIRS),
    analyze("VirtualService of networking", "SK0232 ", NAMES),
    analyze("VirtualService of networking", "SK0233 ", NAMES),
    analyze("WorkloadEntry of", "SK0211 ", NAMES),
    analyze("WorkloadEntry of", "SK0213 ", NAMES),
    analyze("WorkloadGroup of", "SK0211 ", NAMES),
    analyze("WorkloadGroup of", "SK0213 ", NAMES),
    analyze("WorkloadGroup of", "SK0227 ", TOGETHER),
    analyze("WorkloadGroup of", "unreadable ", VALUES),
    server("RequestAuthentication of", "<nil>: \"spec.jwtRules[", SET),
    server("RequestAuthentication of", "spec.jwtRules[].jwksUri: ", SET),
];
