//! Istio's kinds of endpoints: entries, workloads and groups of them.

use serde_json::{Value, json};

use super::{
    At, Count, Enum, FILLED, Holds, LABELS, Many, OneFilled, OneOf, PORT, PORT_OR_NONE, Pattern,
    Range, Required,
    Rule::{self, Also},
    WHOLE_LABEL, WHOLE_LABELS,
    conditions::{all, any, implies, is, no_items, not, of, text, with},
    patterns::{
        EXPORT_OF_SERVICE, HOST, LABEL, LABEL_VALUE, NET, PROTOCOL_OR_NONE, domain, ip_or_none,
    },
};

/// An IP, a name or a socket; which of them goes with which resolution is said at the whole.
const ADDRESS: Rule = Many(|| {
    let socket = json!({"pattern": whole!(socket!())});
    vec![Count(0, 256), Also(any(&[ip_or_none(), socket, domain()]))]
});

pub(super) fn service_entry() -> Vec<At> {
    let mut rules = vec![
        ("", Required(&["hosts"])),
        ("hosts", Count(1, 256)),
        ("hosts[]", HOST),
        ("addresses", Count(0, 256)),
        ("addresses[]", NET),
        // What an expression looks at has a bound.
        ("addresses[]", Count(1, 64)),
        ("ports", Count(0, 256)),
        (
            "ports",
            Holds(
                "self.all(one, self.exists_one(other, one.number == other.number))",
                "two ports have one number: give each its own",
            ),
        ),
        (
            "ports",
            Holds(
                "self.all(one, self.exists_one(other, one.name == other.name))",
                "two ports have one name: give each its own",
            ),
        ),
        ("ports[]", Required(&["number", "name"])),
        ("ports[].number", PORT),
        ("ports[].name", Count(1, 63)),
        ("ports[].name", LABEL),
        ("ports[].targetPort", PORT_OR_NONE),
        ("ports[].protocol", PROTOCOL_OR_NONE),
        ("ports[].protocol", Count(0, 16)),
        ("endpoints", Count(0, 4096)),
        ("", OneFilled(&["endpoints", "workloadSelector"])),
        ("workloadSelector.labels", WHOLE_LABELS),
        ("workloadSelector.labels{}", WHOLE_LABEL),
        ("exportTo", Count(0, 1024)),
        ("exportTo[]", EXPORT_OF_SERVICE),
        ("exportTo[]", Count(1, 63)),
        (
            "exportTo",
            Holds(
                "self.size() < 2 || !self.exists(one, one == '*' || one == '~')",
                "* and ~ stand alone",
            ),
        ),
    ];
    rules.extend(resolutions());
    rules.extend(addresses());
    rules.extend(endpoint("endpoints[]"));
    rules
}

/// What an endpoint's address may be, by the entry's resolution.
fn addresses() -> Vec<At> {
    let resolved = is("resolution", &["DNS", "DNS_ROUND_ROBIN"]);
    let each = |one: Value| of("endpoints", &json!({"items": one}));
    let names = with("address", &json!({"minLength": 1, "not": {"pattern": "^unix://"}}));
    let one = of("address", &any(&[ip_or_none(), json!({"pattern": whole!(socket!())})]));
    let here = all(&[one, any(&[text("address"), text("network")])]);
    let a_socket = with("address", &json!({"pattern": "^unix://"}));
    let socket = with("endpoints", &json!({"not": {"items": not(&a_socket)}}));
    let no_wildcard = json!({"items": domain()});
    vec![
        ("", implies(&resolved, &each(names))),
        ("", implies(&not(&resolved), &each(here))),
        ("", implies(&socket, &with("ports", &json!({"minItems": 1, "maxItems": 1})))),
        ("", implies(&all(&[resolved, no_items("endpoints")]), &of("hosts", &no_wildcard))),
    ]
}

/// What goes with which resolution.
fn resolutions() -> Vec<At> {
    vec![
        (
            "",
            Holds(
                "!has(self.addresses) || !has(self.resolution) || self.resolution in ['NONE', 'STATIC'] || !self.addresses.exists(one, one.contains('/'))",
                "only resolution NONE and STATIC take a CIDR",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.endpoints) || self.endpoints.size() == 0 || (has(self.resolution) && !(self.resolution in ['NONE', 'DYNAMIC_DNS']))",
                "this resolution has no endpoints: remove them, or use STATIC or DNS",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || !has(self.endpoints) || self.endpoints.size() < 2",
                "DNS_ROUND_ROBIN takes one endpoint at most",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.resolution) || !(self.resolution in ['DNS', 'DNS_ROUND_ROBIN']) || (has(self.endpoints) && self.endpoints.size() > 0) || !has(self.hosts) || self.hosts.all(host, !host.startsWith('*'))",
                "a wildcard cannot be resolved: list endpoints, or use NONE or DYNAMIC_DNS",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.resolution) || self.resolution != 'DYNAMIC_DNS' || ((!has(self.addresses) || self.addresses.size() == 0) && (!has(self.hosts) || self.hosts.all(host, host.startsWith('*'))))",
                "DYNAMIC_DNS is for wildcards only, and takes no addresses",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.resolution) || self.resolution != 'DYNAMIC_DNS' || !has(self.ports) || self.ports.all(port, has(port.protocol) && port.protocol.lowerAscii() in ['http', 'http2', 'grpc', 'tls'])",
                "DYNAMIC_DNS needs HTTP, HTTP2, GRPC or TLS",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.hosts) || self.hosts.size() < 2 || !has(self.resolution) || self.resolution == 'NONE' || !has(self.ports) || self.ports.all(port, has(port.protocol) && port.protocol.lowerAscii() in ['http', 'http2', 'http_proxy', 'grpc', 'grpc-web', 'tls', 'https'])",
                "several hosts need ports of HTTP or TLS",
            ),
        ),
    ]
}

pub(super) fn workload_entry() -> Vec<At> {
    let mut rules = endpoint("");
    rules.extend([
        ("labels", LABELS),
        (
            "",
            Holds(
                "(has(self.address) && self.address != '') || (has(self.network) && self.network != \
                 '')",
                "give an address",
            ),
        ),
    ]);
    rules
}

/// What fits into 31 bits.
const COUNT: Rule = Range(0, 0x7fff_ffff);

pub(super) fn workload_group() -> Vec<At> {
    let mut rules = vec![
        ("", Required(&["template"])),
        ("metadata.labels", LABELS),
        ("metadata.labels{}", LABEL_VALUE),
        ("template.labels", LABELS),
        ("probe", OneOf(&["httpGet", "tcpSocket", "exec"])),
        (
            "probe",
            Holds(
                "!has(self.grpc)",
                "Istio's own validation takes no gRPC probe: use httpGet, tcpSocket or exec",
            ),
        ),
        ("probe.initialDelaySeconds", COUNT),
        ("probe.timeoutSeconds", COUNT),
        ("probe.periodSeconds", COUNT),
        ("probe.successThreshold", COUNT),
        ("probe.failureThreshold", COUNT),
        ("probe.httpGet", Required(&["port"])),
        ("probe.httpGet.port", PORT),
        ("probe.httpGet.scheme", Enum(&["", "HTTP", "HTTPS"])),
        ("probe.httpGet.httpHeaders[]", Required(&["name"])),
        ("probe.httpGet.httpHeaders[].name", Pattern("^[-A-Za-z0-9]+$")),
        ("probe.tcpSocket", Required(&["port"])),
        ("probe.tcpSocket.port", PORT),
        ("probe.exec", Required(&["command"])),
        ("probe.exec.command", FILLED),
        ("probe.exec.command[]", FILLED),
    ];
    rules.extend(endpoint("template"));
    rules
}

/// The rules of an endpoint, below a place.
macro_rules! below {
    ($($place:literal $dot:literal),+) => {
        /// What an endpoint is like wherever it stands.
        fn endpoint(place: &str) -> Vec<At> {
            match place {
                $($place => vec![
                    ($place, Holds(SOCKET_WITHOUT_PORTS, "a Unix socket has no ports")),
                    (concat!($place, $dot, "address"), ADDRESS),
                    (concat!($place, $dot, "labels"), Count(0, 256)),
                    (concat!($place, $dot, "labels{}"), LABEL_VALUE),
                    (concat!($place, $dot, "ports"), Count(0, 128)),
                    (concat!($place, $dot, "ports"), Holds(PORT_NAMES, PORT_NAME)),
                    (concat!($place, $dot, "ports{}"), PORT),
                ],)+
                _ => Vec::new(),
            }
        }
    };
}

const SOCKET_WITHOUT_PORTS: &str = "!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports) || \
     self.ports.size() == 0";
const PORT_NAMES: &str = "self.all(name, size(name) < 64 && \
                          name.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'))";
const PORT_NAME: &str = "a port's name is of letters, digits and dashes";

below!("" "", "endpoints[]" ".", "template" ".");
