//! `Sidecar`: what pods may dial, and what they serve.

use serde_json::json;

use super::{
    At, AtLeast, Enum, FILLED, Filled, Holds, Many, PORT, PORT_OR_NONE, Pattern, Range, Required,
    Rule, Time, TimeOrZero, TimeOrZeroText, TimeText, WHOLE_LABEL, WHOLE_LABELS,
    conditions::{all, implies, not, of, there, with},
    patterns::{DOMAIN, IP_OR_NONE, LABEL_OR_NONE, PROTOCOL_OR_NONE, TLS_PROTOCOL, ip_or_none},
    pool::pool,
    server_tls::{self, VERSION},
};

/// `namespace/dnsName`.
const HOST: Rule = Many(|| {
    vec![
        Pattern(whole!("([*.~]|", label!(), ")/(", whole_host!(), ")")),
        Pattern("[*]$|[-a-zA-Z][^./]*[.]?$"),
    ]
});
const ENDPOINT: Rule = Pattern(whole!(
    "|",
    socket!(),
    "|(127[.]0[.]0[.]1|0[.]0[.]0[.]0|\\[::1\\]|\\[::\\]|):0*",
    "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
));

pub(super) fn rules() -> Vec<At> {
    let mut rules: Vec<At> = vec![
        ("", Filled(&["ingress", "egress", "inboundConnectionPool", "outboundTrafficPolicy"])),
        ("workloadSelector.labels", WHOLE_LABELS),
        ("workloadSelector.labels{}", WHOLE_LABEL),
    ];
    rules.extend(egress());
    rules.extend(ingress());
    rules.extend(policy());
    rules.extend::<Vec<At>>(pool!("inboundConnectionPool", Time, TimeOrZero));
    rules.extend::<Vec<At>>(pool!("ingress[].connectionPool", TimeText, TimeOrZeroText));
    rules
}

fn egress() -> Vec<At> {
    vec![
        (
            "egress",
            Holds(
                "!self.exists(one, !has(one.port)) || (self.exists_one(one, !has(one.port)) && \
                 !has(self[self.size() - 1].port))",
                "a listener without a port is for all the rest: move it to the end, and have only one",
            ),
        ),
        ("egress[]", Required(&["hosts"])),
        ("egress[]", Many(binds)),
        ("egress[].hosts", FILLED),
        ("egress[].hosts[]", HOST),
        ("egress[].port.number", PORT_OR_NONE),
        ("egress[].port.name", LABEL_OR_NONE),
        ("egress[].port.protocol", PROTOCOL_OR_NONE),
        ("egress[].port.targetPort", Range(0, 0)),
    ]
}

/// Port 0 is for a Unix socket, and every other one for an address.
fn binds() -> Vec<Rule> {
    let numbered = with("port", &with("number", &json!({"minimum": 1})));
    let socket = with("bind", &json!({"pattern": whole!(socket!())}));
    let not_redirected = of("captureMode", &json!({"not": {"enum": ["IPTABLES"]}}));
    vec![
        implies(&numbered, &of("bind", &ip_or_none())),
        implies(&all(&[there("port"), not(&numbered)]), &all(&[socket, not_redirected])),
    ]
}

fn ingress() -> Vec<At> {
    vec![
        ("ingress[]", Required(&["port"])),
        ("ingress[]", ends_tls()),
        ("ingress[].bind", IP_OR_NONE),
        ("ingress[].defaultEndpoint", ENDPOINT),
        ("ingress[].port", Required(&["number"])),
        ("ingress[].port.number", PORT),
        ("ingress[].port.name", LABEL_OR_NONE),
        ("ingress[].port.protocol", PROTOCOL_OR_NONE),
        ("ingress[].port.targetPort", Range(0, 0)),
        ("ingress[].tls", Many(server_tls::rules)),
        ("ingress[].tls.mode", Enum(&["", "PASSTHROUGH", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"])),
        ("ingress[].tls.httpsRedirect", Rule::Also(json!({"enum": [false]}))),
        ("ingress[].tls.credentialName", super::Count(0, 0)),
        ("ingress[].tls.credentialNames", super::Count(0, 0)),
        ("ingress[].tls.tlsCertificates", super::Count(0, 0)),
        ("ingress[].tls.subjectAltNames", super::Count(0, 0)),
        ("ingress[].tls.minProtocolVersion", VERSION),
        ("ingress[].tls.maxProtocolVersion", VERSION),
    ]
}

fn ends_tls() -> Rule {
    implies(&there("tls"), &of("port", &with("protocol", &json!({"pattern": TLS_PROTOCOL}))))
}

fn policy() -> Vec<At> {
    vec![
        (
            "outboundTrafficPolicy",
            Holds(
                "!has(self.egressProxy) || (has(self.mode) && self.mode == 'ALLOW_ANY')",
                "an egressProxy needs mode ALLOW_ANY",
            ),
        ),
        (
            "outboundTrafficPolicy.mode",
            Holds(
                "self != 'ALLOW_ANY_DYNAMIC_DNS'",
                "ALLOW_ANY_DYNAMIC_DNS is for the mesh only: use ALLOW_ANY or REGISTRY_ONLY",
            ),
        ),
        ("outboundTrafficPolicy.egressProxy", Required(&["host", "port"])),
        ("outboundTrafficPolicy.egressProxy.host", DOMAIN),
        ("outboundTrafficPolicy.egressProxy.subset", LABEL_OR_NONE),
        ("outboundTrafficPolicy.egressProxy.port", Required(&["number"])),
        ("outboundTrafficPolicy.egressProxy.port.number", PORT),
    ]
}
