//! App Mesh's kinds.

use super::{
    At, AtLeast, AtMostOne, Count, Enum, FILLED, Holds, LABELS, OneOf, PERCENT, PORT, Pattern,
    Range, Required, Rule,
    conditions::{implies, is, items, there},
};

/// No length of a text is longer.
const NAME: Rule = Count(1, 1024);
const SHORT: Rule = Count(1, 255);

// What an API server asks of its own selectors.
const LABEL_KEY: Rule = Pattern("^([^/]+/)?[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$");
const LABEL_VALUE: Rule = Pattern("^([a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?)?$");
const OPERATOR: Rule = Enum(&["In", "NotIn", "Exists", "DoesNotExist"]);
const VALUES: Rule = Holds(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    "In and NotIn are about values, Exists and DoesNotExist about the key alone",
);

/// Rules below each of some places.
macro_rules! each {
    ([$($place:literal),+ $(,)?] $rules:tt) => {{
        let mut all: Vec<At> = Vec::new();
        $(all.extend::<Vec<At>>(each!(@ $place $rules));)+
        all
    }};
    (@ $place:literal {$($below:literal: $rule:expr),+ $(,)?}) => {
        vec![$((concat!($place, $below), $rule)),+]
    };
}

pub(super) use each;

fn listeners() -> Vec<At> {
    let mut rules = vec![
        ("listeners[]", Required(&["portMapping"])),
        ("listeners[].portMapping", Required(&["port", "protocol"])),
        ("listeners[].portMapping.port", PORT),
        (
            "listeners[].healthCheck",
            Required(&[
                "healthyThreshold",
                "intervalMillis",
                "protocol",
                "timeoutMillis",
                "unhealthyThreshold",
            ]),
        ),
        ("listeners[].healthCheck.healthyThreshold", Range(2, 10)),
        ("listeners[].healthCheck.unhealthyThreshold", Range(2, 10)),
        ("listeners[].healthCheck.intervalMillis", Range(5_000, 300_000)),
        ("listeners[].healthCheck.timeoutMillis", Range(2_000, 60_000)),
        ("listeners[].healthCheck.port", PORT),
        ("listeners[].outlierDetection.maxServerErrors", AtLeast(1)),
        ("listeners[].outlierDetection.maxEjectionPercent", PERCENT),
        ("listeners[].connectionPool", OneOf(&["tcp", "http", "http2", "grpc"])),
        ("listeners[].timeout", AtMostOne(&["tcp", "http", "http2", "grpc"])),
        ("listeners[].tls", Required(&["certificate", "mode"])),
        ("listeners[].healthCheck", asks_a_path()),
        ("listeners[].outlierDetection", Required(&["maxServerErrors"])),
        ("listeners[].outlierDetection.interval.value", AtLeast(0)),
        ("listeners[].outlierDetection.baseEjectionDuration.value", AtLeast(0)),
    ];
    rules.extend(limits());
    rules.extend(each! { ["listeners[].tls"] {
        ".certificate": OneOf(&["acm", "file", "sds"]),
        ".certificate.acm": Required(&["certificateARN"]),
        ".certificate.acm.certificateARN": FILLED,
        ".certificate.file": Required(&["certificateChain", "privateKey"]),
        ".certificate.file.certificateChain": SHORT,
        ".certificate.file.privateKey": SHORT,
        ".certificate.sds": Required(&["secretName"]),
        ".certificate.sds.secretName": FILLED,
    }});
    rules.extend(trust());
    rules
}

/// How much a listener takes, and how long it waits.
fn limits() -> Vec<At> {
    let mut rules = each! { ["listeners[].connectionPool.tcp", "listeners[].connectionPool.http"] {
        "": Required(&["maxConnections"]),
        ".maxConnections": AtLeast(1),
    }};
    rules.push(("listeners[].connectionPool.http.maxPendingRequests", AtLeast(1)));
    rules.extend(each! { ["listeners[].connectionPool.http2", "listeners[].connectionPool.grpc"] {
        "": Required(&["maxRequests"]),
        ".maxRequests": AtLeast(1),
    }});
    rules.extend(each! {
        [
            "listeners[].timeout.tcp",
            "listeners[].timeout.http",
            "listeners[].timeout.http2",
            "listeners[].timeout.grpc",
        ] {
            ".perRequest.value": AtLeast(0),
            ".idle.value": AtLeast(0),
        }
    });
    rules
}

fn trust() -> Vec<At> {
    each! { ["listeners[].tls.validation"] {
        "": Required(&["trust"]),
        ".trust": OneOf(&["acm", "file", "sds"]),
        ".trust.acm": Required(&["certificateAuthorityARNs"]),
        ".trust.acm.certificateAuthorityARNs": Count(1, 3),
        ".trust.file": Required(&["certificateChain"]),
        ".trust.file.certificateChain": SHORT,
        ".trust.sds": Required(&["secretName"]),
        ".trust.sds.secretName": FILLED,
    }}
}

/// A check over HTTP asks for a path.
fn asks_a_path() -> Rule {
    implies(&is("protocol", &["http", "http2"]), &there("path"))
}

/// How a backend is dialled, below each place that says it.
macro_rules! clients {
    ($($place:literal),+) => {
        each! { [$($place),+] {
            "": Required(&["validation"]),
            ".ports[]": PORT,
            ".certificate": OneOf(&["acm", "file", "sds"]),
            ".certificate.acm": Required(&["certificateARN"]),
            ".certificate.acm.certificateARN": FILLED,
            ".certificate.file": Required(&["certificateChain", "privateKey"]),
            ".certificate.file.certificateChain": SHORT,
            ".certificate.file.privateKey": SHORT,
            ".certificate.sds": Required(&["secretName"]),
            ".certificate.sds.secretName": FILLED,
            ".validation": Required(&["trust"]),
            ".validation.trust": OneOf(&["acm", "file", "sds"]),
            ".validation.trust.acm": Required(&["certificateAuthorityARNs"]),
            ".validation.trust.acm.certificateAuthorityARNs": Count(1, 3),
            ".validation.trust.file": Required(&["certificateChain"]),
            ".validation.trust.file.certificateChain": SHORT,
            ".validation.trust.sds": Required(&["secretName"]),
            ".validation.trust.sds.secretName": FILLED,
        }}
    };
}

/// A selector's requirements.
macro_rules! selectors {
    ($($place:literal),+) => {
        each! { [$($place),+] {
            ".matchLabels": LABELS,
            ".matchLabels{}": LABEL_VALUE,
            ".matchExpressions[]": Required(&["key", "operator"]),
            ".matchExpressions[]": VALUES,
            ".matchExpressions[].key": LABEL_KEY,
            ".matchExpressions[].operator": OPERATOR,
            ".matchExpressions[].values[]": LABEL_VALUE,
        }}
    };
}

fn logs() -> Vec<At> {
    each! { ["logging.accessLog.file"] {
        "": Required(&["path"]),
        ".path": SHORT,
        ".format.json[]": Required(&["key", "value"]),
        ".format.json[].key": FILLED,
        ".format.json[].value": FILLED,
    }}
}

pub(super) fn mesh() -> Vec<At> {
    let mut rules = selectors!("namespaceSelector");
    rules.push(("meshServiceDiscovery.ipPreference", Enum(&["IPv4_ONLY", "IPv6_ONLY"])));
    rules
}

pub(super) fn group() -> Vec<At> {
    vec![("virtualservices[]", Required(&["name"])), ("virtualservices[].name", FILLED)]
}

pub(super) fn node() -> Vec<At> {
    let mut rules = listeners();
    rules.extend(clients!(
        "backendDefaults.clientPolicy.tls",
        "backends[].virtualService.clientPolicy.tls"
    ));
    rules.extend(selectors!("podSelector"));
    rules.extend(logs());
    rules.extend([
        ("", implies(&items("listeners"), &there("serviceDiscovery"))),
        ("serviceDiscovery", OneOf(&["dns", "awsCloudMap"])),
        ("serviceDiscovery.dns", Required(&["hostname"])),
        ("serviceDiscovery.dns.hostname", FILLED),
        ("serviceDiscovery.awsCloudMap", Required(&["namespaceName", "serviceName"])),
        ("serviceDiscovery.awsCloudMap.namespaceName", NAME),
        ("serviceDiscovery.awsCloudMap.serviceName", NAME),
        ("serviceDiscovery.awsCloudMap.attributes[]", Required(&["key", "value"])),
        ("serviceDiscovery.awsCloudMap.attributes[].key", SHORT),
        ("serviceDiscovery.awsCloudMap.attributes[].value", NAME),
        ("backendGroups[]", Required(&["name"])),
        ("backendGroups[].name", FILLED),
        ("backends[]", Required(&["virtualService"])),
        ("backends[].virtualService", OneOf(&["virtualServiceRef", "virtualServiceARN"])),
        ("backends[].virtualService.virtualServiceRef", Required(&["name"])),
        ("backends[].virtualService.virtualServiceRef.name", FILLED),
    ]);
    rules
}

pub(super) fn gateway() -> Vec<At> {
    let mut rules = listeners();
    rules.extend(clients!("backendDefaults.clientPolicy.tls"));
    rules.extend(selectors!("namespaceSelector", "podSelector", "gatewayRouteSelector"));
    rules.extend(logs());
    rules.push(("listeners[].portMapping.protocol", Enum(&["http", "http2", "grpc"])));
    rules.push(("listeners[].healthCheck.protocol", Enum(&["http", "http2", "grpc"])));
    rules
}

pub(super) fn service() -> Vec<At> {
    vec![
        ("provider", OneOf(&["virtualNode", "virtualRouter"])),
        ("provider.virtualNode", AtMostOne(&["virtualNodeRef", "virtualNodeARN"])),
        ("provider.virtualRouter", AtMostOne(&["virtualRouterRef", "virtualRouterARN"])),
        ("provider.virtualNode.virtualNodeRef", Required(&["name"])),
        ("provider.virtualNode.virtualNodeRef.name", FILLED),
        ("provider.virtualRouter.virtualRouterRef", Required(&["name"])),
        ("provider.virtualRouter.virtualRouterRef.name", FILLED),
    ]
}
