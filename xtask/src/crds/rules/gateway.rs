//! `Gateway`: what is served at the edge.

use serde_json::{Value, json};

use super::{
    At, Count, FILLED, Holds, Many, ObjectHolds, PORT_OR_NONE, Range, Required,
    Rule::{self, Also},
    conditions::{all, any, implies, is, no_text, not, of, there, with},
    patterns::{PROTOCOL, TLS_PROTOCOL, ip_or_none},
    server_tls::{self, MODE, VERSION},
};

/// A last label is no number, but for an IP.
const HOST: Rule = Many(|| {
    let host = whole!("(([*.]|", label!(), ")/)?(", whole_host!(), "|", ipv4!(), ")");
    let last = concat!("[*]$|[-a-zA-Z][^./]*[.]?$|(^|/)(", ipv4!(), ")$");
    let named = all(&[json!({"pattern": host}), json!({"pattern": last})]);
    vec![Also(any(&[named, json!({"format": "ipv6", "pattern": "[.]"})]))]
});

pub(super) fn rules() -> Vec<At> {
    vec![
        (
            "",
            ObjectHolds(
                "!self.metadata.name.contains('.') && self.metadata.name.size() <= 63",
                "a gateway's name has up to 63 letters, digits and dashes: rename it",
            ),
        ),
        ("", Required(&["servers"])),
        ("servers", FILLED),
        ("servers[]", Required(&["port", "hosts"])),
        ("servers[]", Many(binds)),
        ("servers[]", Many(protocols)),
        ("servers[].hosts", FILLED),
        ("servers[].hosts[]", HOST),
        (
            "servers[].bind",
            Many(|| vec![Also(any(&[ip_or_none(), json!({"pattern": whole!(socket!())})]))]),
        ),
        ("servers[].port", Required(&["number", "name", "protocol"])),
        ("servers[].port.number", PORT_OR_NONE),
        ("servers[].port.name", FILLED),
        ("servers[].port.protocol", PROTOCOL),
        // What an expression looks at has a bound.
        ("servers[].port.protocol", Count(1, 16)),
        ("servers[].port.targetPort", Range(0, 0)),
        ("servers[].tls", Many(server_tls::rules)),
        ("servers[].tls.mode", MODE),
        ("servers[].tls.minProtocolVersion", VERSION),
        ("servers[].tls.maxProtocolVersion", VERSION),
    ]
}

/// A Unix socket has no port, and everything else has one.
fn binds() -> Vec<Rule> {
    let socket = with("bind", &json!({"pattern": "^unix://"}));
    let number = |bound: Value| of("port", &of("number", &bound));
    vec![
        implies(&socket, &number(json!({"maximum": 0}))),
        implies(&not(&socket), &number(json!({"minimum": 1}))),
    ]
}

fn needs_tls() -> Rule {
    Holds(
        "has(self.tls) || !(self.port.protocol.lowerAscii() in ['tls', 'https'])",
        "a port for HTTPS or TLS needs tls: give it",
    )
}

/// TLS is for ports on which it is ended, and these need it. On a port for HTTP it may redirect.
fn protocols() -> Vec<Rule> {
    let of_tls = of("port", &of("protocol", &json!({"pattern": TLS_PROTOCOL})));
    let redirects = all(&[
        of(
            "port",
            &of("protocol", &json!({"pattern": "^(?i)(http|http_proxy|http2|grpc|grpc-web)$"})),
        ),
        of(
            "tls",
            &all(&[
                not(&is("mode", &["SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"])),
                no_text("caCertificates"),
                no_text("privateKey"),
                no_text("serverCertificate"),
            ]),
        ),
    ]);
    vec![needs_tls(), implies(&there("tls"), &any(&[of_tls.clone(), redirects]))]
}
