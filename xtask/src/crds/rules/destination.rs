//! `DestinationRule`: what becomes of connections to a host.

use super::{
    Above, At, AtLeast, AtMostOne, Count, Enum, FILLED, Filled, Holds, Many, PERCENT, PORT,
    Pattern, Range, Required, Rule, Time, TimeOrZero, TimeOrZeroText, TimeText, WHOLE_LABEL,
    WHOLE_LABELS,
    balancer::{self, balancer},
    conditions::{implies, of, there},
    patterns::{EXPORT, IP_OR_DOMAIN, LABEL, LABEL_VALUE, WILDCARD},
    pool::pool,
};

const CLIENT_TLS: Rule = Many(|| balancer::client_tls().to_vec());
/// The same, where there is a budget to say it in words.
const CLIENT_TLS_IN_WORDS: Rule = Many(|| {
    vec![
        Holds(
            "!has(self.mode) || !(self.mode in ['SIMPLE', 'MUTUAL']) || !has(self.credentialName) || \
             self.credentialName == '' || !((has(self.clientCertificate) && self.clientCertificate != \
             '') || (has(self.privateKey) && self.privateKey != '') || (has(self.caCertificates) && \
             self.caCertificates != '') || (has(self.caCrl) && self.caCrl != ''))",
            "credentialName brings all certificates: remove it, or the files",
        ),
        Holds(
            "!has(self.mode) || self.mode != 'MUTUAL' || (has(self.credentialName) && \
             self.credentialName != '') || (has(self.clientCertificate) && self.clientCertificate != \
             '' && has(self.privateKey) && self.privateKey != '')",
            "MUTUAL needs certificates: give credentialName, or clientCertificate and privateKey",
        ),
        Holds(
            "!has(self.mode) || !(self.mode in ['SIMPLE', 'MUTUAL']) || !has(self.insecureSkipVerify) \
             || !self.insecureSkipVerify || !((has(self.caCertificates) && self.caCertificates != '') \
             || (has(self.subjectAltNames) && self.subjectAltNames.size() > 0) || (self.mode == \
             'SIMPLE' && has(self.credentialName) && self.credentialName != ''))",
            "with insecureSkipVerify the server's certificate is not looked at: remove it, or \
             caCertificates, subjectAltNames and credentialName",
        ),
    ]
});

/// What is said of a host, and of a port of it.
macro_rules! settings {
    ($place:literal, $balancer:literal, $pool:literal, $tls:expr, $time:expr, $or_zero:expr) => {{
        let mut rules: Vec<At> = balancer!($balancer, $time, $or_zero);
        rules.extend::<Vec<At>>(pool!($pool, $time, $or_zero));
        rules.extend::<Vec<At>>(vec![
            (concat!($place, "outlierDetection"), balancer::own_failures()),
            (concat!($place, "outlierDetection.interval"), $time),
            (concat!($place, "outlierDetection.baseEjectionTime"), $time),
            (concat!($place, "outlierDetection.maxEjectionPercent"), PERCENT),
            (concat!($place, "outlierDetection.minHealthPercent"), PERCENT),
            (concat!($place, "outlierDetection.outlierDetectionHttpErrorCodes[]"), Range(100, 599)),
            (concat!($place, "tls"), $tls),
            (concat!($place, "tls.credentialName"), balancer::credential()),
        ]);
        rules
    }};
}

/// What is said of a host alone.
macro_rules! policy {
    ($place:literal) => {
        vec![
            (
                $place,
                Filled(&[
                    "loadBalancer",
                    "connectionPool",
                    "outlierDetection",
                    "tls",
                    "portLevelSettings",
                    "tunnel",
                    "proxyProtocol",
                    "retryBudget",
                ]),
            ),
            ($place, AtMostOne(&["tunnel", "proxyProtocol"])),
            (concat!($place, ".tunnel"), Required(&["targetHost", "targetPort"])),
            (concat!($place, ".tunnel.targetHost"), IP_OR_DOMAIN),
            (concat!($place, ".tunnel.targetPort"), PORT),
            (concat!($place, ".tunnel.protocol"), Enum(&["", "CONNECT", "POST"])),
            (concat!($place, ".portLevelSettings[]"), Required(&["port"])),
            // The port, and what is said of it.
            (concat!($place, ".portLevelSettings[]"), Count(2, super::MANY)),
            (concat!($place, ".retryBudget.percent"), PERCENT),
        ]
    };
}

pub(super) fn rules() -> Vec<At> {
    let mut rules = vec![
        ("", Required(&["host"])),
        ("host", WILDCARD),
        ("subsets[]", Required(&["name"])),
        ("subsets[].name", LABEL),
        ("subsets[].labels{}", LABEL_VALUE),
        ("exportTo[]", EXPORT),
        ("exportTo", Holds("self.size() < 2 || !self.exists(one, one == '*')", "* stands alone")),
        ("", alone()),
        ("workloadSelector.matchLabels", WHOLE_LABELS),
        ("workloadSelector.matchLabels{}", WHOLE_LABEL),
    ];
    rules.extend::<Vec<At>>(policy!("trafficPolicy"));
    rules.extend::<Vec<At>>(policy!("subsets[].trafficPolicy"));
    rules.extend(settings!(
        "trafficPolicy.",
        "trafficPolicy.loadBalancer",
        "trafficPolicy.connectionPool",
        CLIENT_TLS_IN_WORDS,
        Time,
        TimeOrZero
    ));
    rules.extend(settings!(
        "trafficPolicy.portLevelSettings[].",
        "trafficPolicy.portLevelSettings[].loadBalancer",
        "trafficPolicy.portLevelSettings[].connectionPool",
        CLIENT_TLS,
        TimeText,
        TimeOrZeroText
    ));
    rules.extend(settings!(
        "subsets[].trafficPolicy.",
        "subsets[].trafficPolicy.loadBalancer",
        "subsets[].trafficPolicy.connectionPool",
        CLIENT_TLS,
        TimeText,
        TimeOrZeroText
    ));
    rules.extend(settings!(
        "subsets[].trafficPolicy.portLevelSettings[].",
        "subsets[].trafficPolicy.portLevelSettings[].loadBalancer",
        "subsets[].trafficPolicy.portLevelSettings[].connectionPool",
        CLIENT_TLS,
        TimeText,
        TimeOrZeroText
    ));
    rules
}

/// What is for some pods of the namespace is exported nowhere else, whatever it is called.
fn alone() -> Rule {
    let once = serde_json::json!({"maxItems": 1, "items": {"not": {"enum": ["*"]}}});
    implies(&there("workloadSelector"), &of("exportTo", &once))
}
