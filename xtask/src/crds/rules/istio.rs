//! Istio's kinds.

use super::{
    At, AtLeast, AtMostOne, Count, EXPORT, Enum, Holds, LABEL, MANY, Nullable, ObjectHolds, OneOf,
    PERCENT, PORT, Pattern, Range, Required, Time, TimeOrZero,
};

/// No port at all is written 0.
const PORT_OR_NONE: super::Rule = Range(0, 65_535);
/// What an answer's status may be; no client knows the last one.
const STATUS: super::Rule = Range(200, 600);

pub(super) fn sidecar() -> Vec<At> {
    vec![
        ("", Count(1, MANY)),
        ("egress[]", Required(&["hosts"])),
        ("egress[].hosts", Count(1, MANY)),
        ("egress[].hosts[]", Pattern("^[^/]+/[^/]+$")),
        ("egress[].port.number", PORT_OR_NONE),
        ("ingress[]", Required(&["port"])),
        ("ingress[].port.number", PORT),
        (
            "outboundTrafficPolicy",
            Holds(
                "!has(self.egressProxy) || (has(self.mode) && self.mode == 'ALLOW_ANY')",
                "an egressProxy needs mode ALLOW_ANY",
            ),
        ),
    ]
}

pub(super) fn virtual_service() -> Vec<At> {
    let mut rules = vec![
        ("hosts[]", Pattern(r"^(\*|\*[A-Za-z0-9.-]+|[A-Za-z0-9:]([A-Za-z0-9._:-]*))$")),
        (
            "",
            Holds(
                "(has(self.http) && self.http.size() > 0) || (has(self.tls) && self.tls.size() > 0) \
                 || (has(self.tcp) && self.tcp.size() > 0)",
                "give it http, tls or tcp",
            ),
        ),
        ("http[]", OneOf(&["route", "redirect", "directResponse", "delegate"])),
        ("http[]", AtMostOne(&["mirror", "mirrors"])),
        ("http[].timeout", Time),
        ("http[].mirrorPercentage.value", PERCENT),
        ("http[].mirror", Required(&["host"])),
        ("http[].mirrors[]", Required(&["destination"])),
        ("http[].mirrors[].destination", Required(&["host"])),
        ("http[].mirrors[].percentage.value", PERCENT),
        (
            "http[].retries",
            Holds(
                "(has(self.attempts) && self.attempts > 0) || !(has(self.perTryTimeout) || \
                 has(self.retryOn) || has(self.retryRemoteLocalities))",
                "nothing is tried again without attempts: give them",
            ),
        ),
        ("http[].retries.attempts", AtLeast(0)),
        ("http[].retries.perTryTimeout", Time),
        ("http[].retries.backoff", Time),
        ("http[].corsPolicy.maxAge", Time),
        ("http[].corsPolicy.allowOrigins[]", OneOf(&["exact", "prefix", "regex"])),
        ("tls[]", Required(&["match", "route"])),
        ("tls[].match", Count(1, MANY)),
        ("tls[].match[]", Required(&["sniHosts"])),
        ("tls[].match[].sniHosts", Count(1, MANY)),
        ("tls[].match[].port", PORT_OR_NONE),
        ("tcp[]", Required(&["route"])),
        ("tcp[].match[].port", PORT_OR_NONE),
    ];
    rules.extend(matches());
    rules.extend(answers());
    rules.extend(routes());
    rules
}

fn matches() -> Vec<At> {
    let mut rules = vec![("http[].match[].port", PORT_OR_NONE)];
    for path in [
        "http[].match[].uri",
        "http[].match[].scheme",
        "http[].match[].method",
        "http[].match[].authority",
    ] {
        rules.push((path, AtMostOne(&["exact", "prefix", "regex"])));
    }
    for path in [
        "http[].match[].headers{}",
        "http[].match[].withoutHeaders{}",
        "http[].match[].queryParams{}",
    ] {
        rules.push((path, AtMostOne(&["exact", "prefix", "regex"])));
    }
    rules
}

fn answers() -> Vec<At> {
    vec![
        ("http[].directResponse", Required(&["status"])),
        ("http[].directResponse.status", STATUS),
        ("http[].directResponse.body", AtMostOne(&["string", "bytes"])),
        ("http[].redirect", Count(1, MANY)),
        ("http[].redirect", AtMostOne(&["uri", "prefixRewrite"])),
        ("http[].redirect", AtMostOne(&["port", "derivePort"])),
        ("http[].redirect.redirectCode", Range(300, 399)),
        ("http[].redirect.scheme", Enum(&["http", "https"])),
        ("http[].rewrite", Count(1, MANY)),
        ("http[].rewrite", AtMostOne(&["uri", "uriRegexRewrite"])),
        ("http[].fault", Count(1, MANY)),
        ("http[].fault.delay.fixedDelay", Time),
        ("http[].fault.delay.percentage.value", PERCENT),
        ("http[].fault.abort", AtMostOne(&["httpStatus", "grpcStatus"])),
        ("http[].fault.abort.httpStatus", STATUS),
        ("http[].fault.abort.percentage.value", PERCENT),
    ]
}

fn routes() -> Vec<At> {
    vec![
        ("http[].route[]", Required(&["destination"])),
        ("http[].route[].weight", AtLeast(0)),
        ("http[].route[].destination", Required(&["host"])),
        ("http[].route[].destination.port.number", PORT),
        ("tls[].route", Count(1, MANY)),
        ("tls[].route[]", Required(&["destination"])),
        ("tls[].route[].weight", AtLeast(0)),
        ("tls[].route[].destination", Required(&["host"])),
        ("tls[].route[].destination.port.number", PORT),
        ("tcp[].route", Count(1, MANY)),
        ("tcp[].route[]", Required(&["destination"])),
        ("tcp[].route[].weight", AtLeast(0)),
        ("tcp[].route[].destination", Required(&["host"])),
        ("tcp[].route[].destination.port.number", PORT),
    ]
}

/// A path below each place that has a policy.
macro_rules! policies {
    ($($below:literal: $rule:expr),+ $(,)?) => {
        vec![$(
            (concat!("trafficPolicy", $below), $rule),
            (concat!("subsets[].trafficPolicy", $below), $rule),
        )+]
    };
}

/// The same, and below each port of them.
macro_rules! ports_too {
    ($($below:literal: $rule:expr),+ $(,)?) => {
        vec![$(
            (concat!("trafficPolicy.", $below), $rule),
            (concat!("trafficPolicy.portLevelSettings[].", $below), $rule),
            (concat!("subsets[].trafficPolicy.", $below), $rule),
            (concat!("subsets[].trafficPolicy.portLevelSettings[].", $below), $rule),
        )+]
    };
}

pub(super) fn destination_rule() -> Vec<At> {
    let mut rules = vec![
        ("", Required(&["host"])),
        ("host", Count(1, 253)),
        ("subsets[]", Required(&["name"])),
        ("subsets[].name", Count(1, 63)),
        ("subsets[].name", LABEL),
        ("exportTo[]", EXPORT),
        ("exportTo[]", Count(1, 63)),
    ];
    rules.extend(policies! {
        "": Count(1, MANY),
        "": AtMostOne(&["tunnel", "proxyProtocol"]),
        ".tunnel": Required(&["targetHost", "targetPort"]),
        ".tunnel.targetPort": PORT,
        ".tunnel.protocol": Enum(&["CONNECT", "POST"]),
        ".portLevelSettings[]": Required(&["port"]),
        ".retryBudget.percent": PERCENT,
    });
    rules.extend(ports_too! {
        "loadBalancer": AtMostOne(&["simple", "consistentHash"]),
        "loadBalancer.consistentHash": AtMostOne(&[
            "httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName",
        ]),
        "loadBalancer.consistentHash": AtMostOne(&["ringHash", "maglev"]),
        "loadBalancer.consistentHash.httpCookie": Required(&["name"]),
        "loadBalancer.consistentHash.httpCookie.ttl": TimeOrZero,
        "connectionPool": Count(1, MANY),
        "connectionPool.tcp.maxConnections": AtLeast(0),
        "connectionPool.tcp.connectTimeout": Time,
        "connectionPool.tcp.idleTimeout": TimeOrZero,
        "connectionPool.tcp.maxConnectionDuration": Time,
        "connectionPool.http.maxRequestsPerConnection": AtLeast(0),
        "connectionPool.http.maxRetries": AtLeast(0),
        "connectionPool.http.maxConcurrentStreams": AtLeast(0),
        "connectionPool.http.idleTimeout": Time,
        "connectionPool.http.http1MaxPendingRequests": AtLeast(0),
        "connectionPool.http.http2MaxRequests": AtLeast(0),
        "connectionPool.http.http2KeepAlive": Required(&["interval", "timeout"]),
        "loadBalancer": AtMostOne(&["localityLbSetting", "zoneAwareLbSetting"]),
        "loadBalancer.warmup": Required(&["duration"]),
        "loadBalancer.warmup.minimumPercent": PERCENT,
        "connectionPool.http.h2UpgradePolicy": Enum(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]),
        "outlierDetection.interval": Time,
        "outlierDetection.baseEjectionTime": Time,
        "outlierDetection.maxEjectionPercent": PERCENT,
        "outlierDetection.minHealthPercent": PERCENT,
    });
    rules
}

pub(super) fn gateway() -> Vec<At> {
    vec![
        ("", Required(&["servers"])),
        ("servers", Count(1, MANY)),
        ("servers[]", Required(&["port", "hosts"])),
        ("servers[].hosts", Count(1, MANY)),
        ("servers[].port", Required(&["number", "name", "protocol"])),
        ("servers[].port.number", PORT_OR_NONE),
        ("servers[].port.name", Count(1, MANY)),
        (
            "servers[].tls.mode",
            Enum(&[
                "PASSTHROUGH",
                "SIMPLE",
                "MUTUAL",
                "AUTO_PASSTHROUGH",
                "ISTIO_MUTUAL",
                "OPTIONAL_MUTUAL",
            ]),
        ),
    ]
}

pub(super) fn peers() -> Vec<At> {
    vec![
        (
            "",
            Holds(
                "!has(self.portLevelMtls) || self.portLevelMtls.size() == 0 || (has(self.selector) \
                 && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
                "modes by port need a selector with labels",
            ),
        ),
        ("portLevelMtls", Count(1, 1024)),
        (
            "portLevelMtls",
            Holds(
                "self.all(port, port.matches('^[0-9]{1,5}$') && int(port) > 0 && int(port) < 65536)",
                "the keys are ports, 1 to 65535",
            ),
        ),
    ]
}

pub(super) fn access() -> Vec<At> {
    vec![
        ("", AtMostOne(&["selector", "targetRef", "targetRefs"])),
        (
            "",
            Holds(
                "!has(self.action) || self.action != 'DENY' || (has(self.rules) && \
                 self.rules.size() > 0)",
                "DENY without rules denies nothing: use [{}] to deny all",
            ),
        ),
        (
            "",
            Holds(
                "(has(self.action) && self.action == 'CUSTOM') == has(self.provider)",
                "a provider goes with action CUSTOM, and only with it",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.action) || self.action != 'CUSTOM' || (has(self.rules) && \
                 self.rules.size() > 0)",
                "CUSTOM without rules is never asked: use [{}] for every request",
            ),
        ),
        ("provider", Required(&["name"])),
        ("provider.name", Count(1, MANY)),
        (
            "rules[].from[].source",
            Holds(
                "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || \
                 !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || \
                 has(self.notNamespaces))",
                "serviceAccounts do not go with namespaces or principals",
            ),
        ),
        ("rules[].from[]", Required(&["source"])),
        ("rules[].from[].source", Count(1, MANY)),
        ("rules[].to[]", Required(&["operation"])),
        ("rules[].to[].operation", Count(1, MANY)),
        ("rules[].when[]", Required(&["key"])),
    ]
}

pub(super) fn mesh_policy() -> Vec<At> {
    vec![
        ("", ObjectHolds("self.metadata.name == 'default'", "a MeshPolicy is named default")),
        ("peers[].mtls", Nullable),
        (
            "",
            Holds(
                "!has(self.targets) || self.targets.size() == 0",
                "a MeshPolicy is for the whole mesh: use a Policy for targets",
            ),
        ),
    ]
}

pub(super) fn policy() -> Vec<At> {
    vec![
        (
            "",
            ObjectHolds(
                "self.metadata.name == 'default' || (has(self.spec) && has(self.spec.targets) && \
                 self.spec.targets.size() > 0)",
                "a Policy without targets is named default",
            ),
        ),
        ("peers[].mtls", Nullable),
        ("targets[]", Required(&["name"])),
        ("targets[].name", Count(1, 63)),
        ("targets[].name", LABEL),
        ("targets[].ports[]", OneOf(&["number", "name"])),
        ("targets[].ports[].number", PORT),
    ]
}
