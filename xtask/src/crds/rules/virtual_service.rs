//! `VirtualService`: its hosts, and its rules for TLS and TCP. The rules for HTTP are beside.

use serde_json::{Value, json};

use super::{
    At, AtLeast, FILLED, Holds, Many, PORT, PORT_OR_NONE, Required, Rule,
    conditions::{all, any, implies, items, not, of, with},
    patterns::{EXPORT, GATEWAY_NAME, HOST, LABEL_OR_NONE, LABEL_VALUE, NET, ip, wildcard},
    routes::{destination, shares},
    virtual_service_http,
};

/// What a client may ask for, or a name that a gateway passes TLS through to.
const ASKED: Rule = Many(|| {
    let passed = json!({"pattern": whole!(passed_through!()), "maxLength": 255});
    vec![Rule::Also(any(&[wildcard(), ip(), passed]))]
});

fn for_gateways() -> Value {
    with("gateways", &json!({"minItems": 1, "items": {"not": {"enum": ["mesh"]}}}))
}

pub(super) fn rules() -> Vec<At> {
    let mut rules = hosts();
    rules.extend(virtual_service_http::rules());
    rules.extend(tls());
    rules.extend(tcp());
    rules
}

fn hosts() -> Vec<At> {
    // A name that TLS is passed through to is one for gateways.
    let no_passing = |list: &str| of(list, &json!({"items": {"not": {"pattern": "^outbound_"}}}));
    let no_names = json!({"items": of("match", &json!({"items": no_passing("sniHosts")}))});
    vec![
        ("hosts[]", ASKED),
        ("", implies(&not(&all(&[for_gateways(), items("tls")])), &no_passing("hosts"))),
        ("", implies(&not(&for_gateways()), &of("tls", &no_names))),
        (
            "",
            Holds(
                "(has(self.http) && self.http.size() > 0) || (has(self.tls) && self.tls.size() > 0) \
                 || (has(self.tcp) && self.tcp.size() > 0)",
                "give it http, tls or tcp",
            ),
        ),
        (
            "",
            Holds(
                "(has(self.hosts) && self.hosts.size() > 0) || !((has(self.gateways) && \
                 self.gateways.size() > 0) || (has(self.tls) && self.tls.size() > 0) || \
                 (has(self.tcp) && self.tcp.size() > 0))",
                "hosts are required with gateways, tls or tcp: only a delegate, which has http \
                 alone, goes without",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.hosts) || !('*' in self.hosts) || (has(self.gateways) && \
                 self.gateways.size() > 0 && !('mesh' in self.gateways))",
                "* is for gateways only: name the hosts, or list gateways without mesh",
            ),
        ),
        ("", implies(&not(&items("hosts")), &no_delegates())),
        ("gateways[]", GATEWAY_NAME),
        ("exportTo[]", EXPORT),
        ("exportTo", Holds("self.size() < 2 || !self.exists(one, one == '*')", "* stands alone")),
    ]
}

/// There is one level of delegates only.
fn no_delegates() -> Value {
    of("http", &json!({"items": {"not": {"required": ["delegate"]}}}))
}

fn tls() -> Vec<At> {
    let mut rules = vec![
        ("tls[]", Required(&["match", "route"])),
        ("tls[].match", FILLED),
        ("tls[].match[]", Required(&["sniHosts"])),
        ("tls[].match[].sniHosts", FILLED),
        ("tls[].match[].sniHosts[]", ASKED),
        ("tls[].match[].port", PORT_OR_NONE),
        ("tls[].match[].destinationSubnets[]", NET),
        ("tls[].match[].sourceLabels{}", LABEL_VALUE),
        ("tls[].match[].gateways[]", GATEWAY_NAME),
        ("tls[].route", FILLED),
        ("tls[].route", shares()),
        ("tls[].route[]", Required(&["destination"])),
        ("tls[].route[].weight", AtLeast(0)),
    ];
    rules.extend::<Vec<At>>(destination!("tls[].route[].destination"));
    rules
}

fn tcp() -> Vec<At> {
    let mut rules = vec![
        ("tcp[]", Required(&["route"])),
        ("tcp[].match[].port", PORT_OR_NONE),
        ("tcp[].match[].destinationSubnets[]", NET),
        ("tcp[].match[].sourceLabels{}", LABEL_VALUE),
        ("tcp[].match[].gateways[]", GATEWAY_NAME),
        ("tcp[].route", FILLED),
        ("tcp[].route", shares()),
        ("tcp[].route[]", Required(&["destination"])),
        ("tcp[].route[].weight", AtLeast(0)),
    ];
    rules.extend::<Vec<At>>(destination!("tcp[].route[].destination"));
    rules
}
