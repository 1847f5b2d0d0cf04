//! What upstream says of how clients dial, one row a rule.

#[path = "support/rows.rs"]
mod rows;

use rows::{Row, found, hold, object};

const API: &str = "networking.istio.io/v1";

/// A policy, and what is found of it.
const POLICIES: &[Row] = &[
    (
        "a retry budget is a share",
        "retryBudget: {percent: 101}",
        &["error SK0228 .retryBudget.percent"],
    ),
    (
        "a slow start takes a time",
        "loadBalancer: {warmup: {}}",
        &["error SK0226 .loadBalancer.warmup.duration"],
    ),
    (
        "a slow start's numbers",
        "loadBalancer: {warmup: {duration: 0s, minimumPercent: 101, aggression: 0}}",
        &[
            "error SK0229 .loadBalancer.warmup.duration",
            "error SK0228 .loadBalancer.warmup.minimumPercent",
            "error SK0228 .loadBalancer.warmup.aggression",
        ],
    ),
    (
        "the old slow start",
        "loadBalancer: {warmupDurationSecs: 1us}",
        &["error SK0229 .loadBalancer.warmupDurationSecs"],
    ),
    (
        "a hash without a key is taken",
        "loadBalancer: {consistentHash: {}}",
        &["warning SK0227 .loadBalancer.consistentHash"],
    ),
    (
        "one size of the ring",
        "loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {}, minimumRingSize: 8}}",
        &[
            "error SK0227 .loadBalancer.consistentHash",
            "warning IST0002 .loadBalancer.consistentHash.minimumRingSize",
        ],
    ),
    (
        "the old size of the ring",
        "loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 8}}",
        &["warning IST0002 .loadBalancer.consistentHash.minimumRingSize"],
    ),
    (
        "attributes of a cookie, each once",
        "loadBalancer: {consistentHash: {httpCookie: {name: a, attributes: [{name: b}, {}, {name: b}]}}}",
        &[
            "error SK0226 .loadBalancer.consistentHash.httpCookie.attributes[1].name",
            "error SK0230 .loadBalancer.consistentHash.httpCookie.attributes[2].name",
        ],
    ),
    (
        "one way to choose",
        "loadBalancer: {simple: RANDOM, backendUtilization: {}}",
        &["error SK0227 .loadBalancer"],
    ),
    (
        "one way to stay near",
        "loadBalancer: {localityLbSetting: {}, zoneAwareLbSetting: {}}",
        &["error SK0227 .loadBalancer"],
    ),
    (
        "shares or failover",
        "outlierDetection: {}, loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]}}",
        &["error SK0227 .loadBalancer.localityLbSetting"],
    ),
    (
        "shares are 100 together",
        "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50, c: 40}}]}}",
        &["error SK0228 .loadBalancer.localityLbSetting.distribute[0].to"],
    ),
    (
        "no share of nothing",
        "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100, c: 0}}]}}",
        &["error SK0228 .loadBalancer.localityLbSetting.distribute[0].to"],
    ),
    (
        "places do not overlap",
        "loadBalancer: {localityLbSetting: {distribute: [{from: a/b, to: {c: 100}}, {from: a, to: {c: 100}}]}}",
        &["error SK0230 .loadBalancer.localityLbSetting.distribute"],
    ),
    (
        "the rest of the places",
        "loadBalancer: {localityLbSetting: {distribute: [{from: a/b, to: {c: 100}}, {from: a/*, to: {c: 100}}]}}",
        &[],
    ),
    (
        "places are region/zone/subzone",
        "loadBalancer: {localityLbSetting: {distribute: [{from: a//b, to: {'*/c': 100}}]}}",
        &[
            "error SK0228 .loadBalancer.localityLbSetting.distribute[0].to",
            "error SK0228 .loadBalancer.localityLbSetting.distribute",
        ],
    ),
    (
        "failover is between whole regions",
        "outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}, {from: a/b, to: c}, {from: a, to: '*'}]}}",
        &[
            "error SK0231 .loadBalancer.localityLbSetting.failover[0]",
            "error SK0228 .loadBalancer.localityLbSetting.failover[1].from",
            "error SK0228 .loadBalancer.localityLbSetting.failover[2].to",
        ],
    ),
    (
        "failover needs failures",
        "loadBalancer: {zoneAwareLbSetting: {failover: [{from: a, to: b}]}}",
        &["warning SK0103 .loadBalancer.zoneAwareLbSetting"],
    ),
    (
        "failover orders places itself",
        "outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]}}",
        &["error SK0231 .loadBalancer.localityLbSetting.failoverPriority"],
    ),
    (
        "zones are looked at anyhow",
        "outlierDetection: {}, loadBalancer: {zoneAwareLbSetting: {failoverPriority: [topology.kubernetes.io/zone], minClusterSize: 0}}",
        &[
            "error SK0231 .loadBalancer.zoneAwareLbSetting.failoverPriority[0]",
            "error SK0228 .loadBalancer.zoneAwareLbSetting.minClusterSize",
        ],
    ),
    (
        "requests are not negative",
        "connectionPool: {http: {http1MaxPendingRequests: -1, http2MaxRequests: -1}}",
        &[
            "error SK0228 .connectionPool.http.http1MaxPendingRequests",
            "error SK0228 .connectionPool.http.http2MaxRequests",
        ],
    ),
    (
        "idle HTTP is closed some time",
        "connectionPool: {http: {idleTimeout: 0s}}",
        &["error SK0229 .connectionPool.http.idleTimeout"],
    ),
    (
        "upgrades that exist",
        "connectionPool: {http: {h2UpgradePolicy: MAYBE}}",
        &["error SK0228 .connectionPool.http.h2UpgradePolicy"],
    ),
    (
        "no upgrade of the client's own protocol",
        "connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
        &["error SK0231 .connectionPool.http.h2UpgradePolicy"],
    ),
    (
        "pings take two times",
        "connectionPool: {http: {http2KeepAlive: {interval: 1s}}}",
        &["error SK0226 .connectionPool.http.http2KeepAlive.timeout"],
    ),
    (
        "the old count of errors",
        "outlierDetection: {consecutiveErrors: 5}",
        &["warning IST0002 .outlierDetection.consecutiveErrors"],
    ),
    (
        "statuses that exist",
        "outlierDetection: {outlierDetectionHttpErrorCodes: [99]}",
        &["error SK0228 .outlierDetection.outlierDetectionHttpErrorCodes[0]"],
    ),
    (
        "one source of certificates",
        "tls: {mode: SIMPLE, credentialName: a, caCertificates: b}",
        &["error SK0227 .tls"],
    ),
    (
        "ISTIO_MUTUAL's own are used",
        "tls: {mode: ISTIO_MUTUAL, clientCertificate: a}",
        &["warning SK0231 .tls"],
    ),
    (
        "who does not look needs no authorities",
        "tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: a}",
        &["error SK0231 .tls.insecureSkipVerify"],
    ),
    (
        "who does not look needs no names",
        "tls: {mode: MUTUAL, insecureSkipVerify: true, clientCertificate: a, privateKey: b, subjectAltNames: [c]}",
        &["error SK0231 .tls.insecureSkipVerify"],
    ),
    (
        "a secret may be the client's own",
        "tls: {mode: MUTUAL, insecureSkipVerify: true, credentialName: a}",
        &[],
    ),
    (
        "a map of the same namespace",
        "tls: {mode: SIMPLE, credentialName: 'configmap://other/a'}",
        &["error SK0233 .tls.credentialName"],
    ),
    (
        "a port's policy says something",
        "portLevelSettings: [{port: {number: 80}}]",
        &["error SK0226 .portLevelSettings[0]"],
    ),
];

#[test]
fn a_policy_is_held_against_each_rule() {
    for (meaning, policy, expected) in POLICIES {
        let told = found(&object(
            API,
            "DestinationRule",
            &format!("host: a, trafficPolicy: {{{policy}}}"),
        ));
        let expected: Vec<String> =
            expected.iter().map(|one| one.replacen(" .", " spec.trafficPolicy.", 1)).collect();
        assert_eq!(told, expected, "{meaning}: {policy}");
    }
}

const RULES: &[Row] = &[
    ("an IP is no host of a rule", "host: 203.0.113.1", &["error SK0202 spec.host"]),
    ("a label of digits is a name", "host: '80'", &[]),
    ("exported to no namespace", "host: a, exportTo: ['~']", &["error SK0217 spec.exportTo[0]"]),
    (
        "for some pods, so for their namespace",
        "host: a, exportTo: ['*'], workloadSelector: {matchLabels: {a: b}}",
        &["error SK0217 spec.exportTo[0]"],
    ),
    (
        "its own namespace by name",
        "host: a, exportTo: [shop], workloadSelector: {matchLabels: {a: b}}",
        &[],
    ),
    (
        "a selector with labels",
        "host: a, workloadSelector: {}",
        &["warning SK0225 spec.workloadSelector.matchLabels"],
    ),
];

#[test]
fn a_destination_rule_is_held_against_each_rule() {
    hold(API, "DestinationRule", RULES);
}
