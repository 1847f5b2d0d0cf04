//! Istio's kinds of endpoints: entries, workloads and groups of them.

use super::{
    At, AtLeast, AtMostOne, Count, Enum, Holds, MANY, OneOf, PORT, Pattern, Required, Rule,
    WHOLE_LABELS,
};

/// No port at all is written 0.
const PORT_OR_NONE: Rule = Rule::Range(0, 65_535);
const HOST: Rule = Pattern(r"^(\*[A-Za-z0-9.-]+|[A-Za-z0-9:]([A-Za-z0-9.:_-]*))$");
const NAME: Rule = super::LABEL;

/// A label's value.
const LABEL: Rule = Pattern("^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$");
/// An IP, a name or a socket.
const ADDRESS: Rule = Pattern("^(|unix://.*|[A-Za-z0-9:][A-Za-z0-9.:-]*)$");

pub(super) fn service_entry() -> Vec<At> {
    let mut rules = vec![
        ("", Required(&["hosts"])),
        ("hosts", Count(1, 256)),
        ("hosts[]", HOST),
        ("hosts[]", Count(1, 255)),
        ("addresses", Count(0, 256)),
        ("addresses[]", Count(1, 64)),
        ("addresses[]", Pattern("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")),
        ("ports", Count(0, 256)),
        (
            "ports",
            Holds(
                "self.all(one, self.exists_one(other, one.number == other.number))",
                "two ports have one number: give each its own",
            ),
        ),
        ("ports[]", Required(&["number", "name"])),
        ("ports[].number", PORT),
        ("ports[].name", Count(1, 63)),
        ("ports[].name", NAME),
        ("ports[].targetPort", PORT_OR_NONE),
        (
            "ports[].protocol",
            Pattern(
                "^(?i)(|tcp|udp|tls|http|https|http2|http_proxy|grpc|grpc-web|mongo|redis|mysql)$",
            ),
        ),
        ("ports[].protocol", Count(0, 16)),
        ("endpoints", Count(0, 4096)),
        ("", AtMostOne(&["endpoints", "workloadSelector"])),
        ("workloadSelector.labels", Count(0, 256)),
        ("workloadSelector.labels{}", Count(0, 63)),
        ("workloadSelector.labels", WHOLE_LABELS),
        ("exportTo", Count(0, 1024)),
        ("exportTo[]", Pattern(r"^(\*|\.|~|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)$")),
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
    rules.extend(endpoint("endpoints[]"));
    rules
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
    rules.push(("", Holds("has(self.address) || has(self.network)", "give an address")));
    rules
}

pub(super) fn workload_group() -> Vec<At> {
    let mut rules = vec![
        ("", Required(&["template"])),
        ("metadata.labels", Count(0, 256)),
        ("metadata.labels{}", LABEL),
        ("probe", OneOf(&["httpGet", "tcpSocket", "exec"])),
        ("probe.initialDelaySeconds", AtLeast(0)),
        ("probe.timeoutSeconds", AtLeast(0)),
        ("probe.periodSeconds", AtLeast(0)),
        ("probe.successThreshold", AtLeast(0)),
        ("probe.failureThreshold", AtLeast(0)),
        ("probe.httpGet", Required(&["port"])),
        ("probe.httpGet.port", PORT),
        ("probe.httpGet.scheme", Enum(&["", "HTTP", "HTTPS"])),
        ("probe.httpGet.httpHeaders[]", Required(&["name"])),
        ("probe.httpGet.httpHeaders[].name", Pattern("^[-A-Za-z0-9]+$")),
        ("probe.tcpSocket", Required(&["port"])),
        ("probe.tcpSocket.port", PORT),
        ("probe.exec", Required(&["command"])),
        ("probe.exec.command", Count(1, MANY)),
        ("probe.exec.command[]", Count(1, MANY)),
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
                    ($place, Holds("!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports) || self.ports.size() == 0", "a Unix socket has no ports")),
                    (concat!($place, $dot, "address"), Count(0, 256)),
                    (concat!($place, $dot, "address"), ADDRESS),
                    (concat!($place, $dot, "address"), Holds("!self.startsWith('unix://') || self.startsWith('unix://@') || (self.startsWith('unix:///') && !self.endsWith('/'))", "give the socket's absolute path, or @NAME")),
                    (concat!($place, $dot, "labels"), Count(0, 256)),
                    (concat!($place, $dot, "labels{}"), LABEL),
                    (concat!($place, $dot, "ports"), Count(0, 128)),
                    (concat!($place, $dot, "ports"), Holds("self.all(name, size(name) < 64 && name.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'))", "a port's name is of letters, digits and dashes")),
                    (concat!($place, $dot, "ports{}"), PORT),
                ],)+
                _ => Vec::new(),
            }
        }
    };
}

below!("" "", "endpoints[]" ".", "template" ".");
