//! How an endpoint is chosen, wherever it is said.

use serde_json::{Value, json};

use super::{
    Rule::{self, Also},
    conditions::{any, implies, is, items, no_items, no_text, not, of, text, there, with},
};

/// Labels whose order is given by the place itself.
const TOPOLOGY: [&str; 3] =
    ["topology.istio.io/subzone", "topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

fn no_topology() -> Value {
    json!({"items": {"not": {"enum": TOPOLOGY}}})
}

/// The old place of the size beside a new one.
pub(super) fn sizes() -> Rule {
    let old = with("minimumRingSize", &json!({"minimum": 1}));
    implies(&old, &not(&any(&[there("ringHash"), there("maglev")])))
}

pub(super) fn either_way() -> Rule {
    Also(any(&[no_items("distribute"), no_items("failover")]))
}

pub(super) fn labels() -> Rule {
    implies(&items("failover"), &of("failoverPriority", &no_topology()))
}

pub(super) fn labels_of_zones() -> Rule {
    Also(no_topology())
}

/// A region fails over to another one. That they differ is told where one is missing.
pub(super) fn somewhere() -> Rule {
    Also(any(&[text("from"), text("to")]))
}

/// Failures of the own side are only told apart where that is asked for.
pub(super) fn own_failures() -> Rule {
    implies(
        &with("consecutiveLocalOriginFailures", &json!({"minimum": 1})),
        &with("splitExternalLocalOriginErrors", &json!({"enum": [true]})),
    )
}

/// The rules below a place.
macro_rules! balancer {
    ($place:literal, $time:expr, $or_zero:expr) => {
        vec![
            ($place, AtMostOne(&["simple", "consistentHash", "backendUtilization"])),
            ($place, AtMostOne(&["localityLbSetting", "zoneAwareLbSetting"])),
            (
                concat!($place, ".consistentHash"),
                AtMostOne(&[
                    "httpHeaderName",
                    "httpCookie",
                    "useSourceIp",
                    "httpQueryParameterName",
                ]),
            ),
            (concat!($place, ".consistentHash"), AtMostOne(&["ringHash", "maglev"])),
            (concat!($place, ".consistentHash"), $crate::crds::rules::balancer::sizes()),
            // That it is a prime number no schema can say.
            (concat!($place, ".consistentHash.maglev"), Required(&["tableSize"])),
            (concat!($place, ".consistentHash.maglev.tableSize"), Range(1, 5_000_010)),
            (concat!($place, ".consistentHash.httpCookie"), Required(&["name"])),
            (concat!($place, ".consistentHash.httpCookie.name"), FILLED),
            (concat!($place, ".consistentHash.httpCookie.ttl"), $or_zero),
            (concat!($place, ".consistentHash.httpCookie.attributes[]"), Required(&["name"])),
            (concat!($place, ".consistentHash.httpCookie.attributes[].name"), FILLED),
            (concat!($place, ".localityLbSetting"), $crate::crds::rules::balancer::either_way()),
            (concat!($place, ".localityLbSetting"), $crate::crds::rules::balancer::labels()),
            (
                concat!($place, ".localityLbSetting.failover[]"),
                $crate::crds::rules::balancer::somewhere(),
            ),
            (concat!($place, ".localityLbSetting.failover[].from"), Pattern("^[^/*]*$")),
            (concat!($place, ".localityLbSetting.failover[].to"), Pattern("^[^/*]*$")),
            (concat!($place, ".localityLbSetting.distribute[]"), Required(&["from", "to"])),
            (
                concat!($place, ".localityLbSetting.distribute[].from"),
                Pattern(
                    "^([^/*]+(/[^/*]+(/[^*]+)?)?|([^/*]+/){0,2}[^/*]*[*]|[^/*]+/[^/*]+/[^*]*[*])$",
                ),
            ),
            (concat!($place, ".localityLbSetting.distribute[].to"), Count(1, 100)),
            (concat!($place, ".localityLbSetting.distribute[].to{}"), Range(1, 100)),
            (
                concat!($place, ".zoneAwareLbSetting.failover[]"),
                $crate::crds::rules::balancer::somewhere(),
            ),
            (concat!($place, ".zoneAwareLbSetting.failover[].from"), Pattern("^[^/*]*$")),
            (concat!($place, ".zoneAwareLbSetting.failover[].to"), Pattern("^[^/*]*$")),
            (
                concat!($place, ".zoneAwareLbSetting.failoverPriority"),
                $crate::crds::rules::balancer::labels_of_zones(),
            ),
            (concat!($place, ".zoneAwareLbSetting.minClusterSize"), AtLeast(1)),
            (concat!($place, ".warmupDurationSecs"), $time),
            (concat!($place, ".warmup"), Required(&["duration"])),
            (concat!($place, ".warmup.duration"), $time),
            (concat!($place, ".warmup.minimumPercent"), PERCENT),
            (concat!($place, ".warmup.aggression"), Above(0)),
        ]
    };
}

pub(super) use balancer;

/// What is not looked at needs nothing to look at it with, and a secret brings what files would.
pub(super) fn client_tls() -> [Rule; 4] {
    let files = ["clientCertificate", "privateKey", "caCertificates", "caCrl"].map(no_text);
    let no_files = json!({"allOf": files});
    let verified = is("mode", &["SIMPLE", "MUTUAL"]);
    let by_secret = text("credentialName");
    let unseen = with("insecureSkipVerify", &json!({"enum": [true]}));
    let mutual_by_files = json!({"allOf": [is("mode", &["MUTUAL"]), not(&by_secret)]});
    let own = json!({"allOf": [text("clientCertificate"), text("privateKey")]});
    [
        implies(&json!({"allOf": [verified, by_secret]}), &no_files),
        implies(&mutual_by_files, &own),
        implies(
            &json!({"allOf": [verified, unseen]}),
            &json!({"allOf": [no_text("caCertificates"), no_items("subjectAltNames")]}),
        ),
        implies(&json!({"allOf": [is("mode", &["SIMPLE"]), unseen]}), &no_text("credentialName")),
    ]
}

/// A secret's name, or that of a map of the same namespace, which a schema does not know.
pub(super) fn credential() -> Rule {
    let map = concat!("^configmap://(", label!(), "/)?[^/]+$");
    Also(json!({"anyOf": [{"not": {"pattern": "^configmap://"}}, {"pattern": map}]}))
}
