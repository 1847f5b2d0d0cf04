//! The fields of log lines: each name means one thing wherever it stands. A test compares this list
//! with what the sources write.

/// A field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// The targets whose lines may have it.
    pub(crate) targets: &'static [Target],
    /// What it says.
    pub(crate) meaning: &'static str,
}

/// Who writes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// One line a connection.
    Access,
    /// What was refused.
    Deny,
    /// What becomes of objects.
    Config,
    /// Everything else, under the path of the module.
    Module,
}

use Target::{Access, Config, Deny, Module};

impl Target {
    /// As the log names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Deny => "deny",
            Self::Config => "config",
            Self::Module => "sekisho::…, agent_…::…",
        }
    }
}

const fn field(name: &'static str, targets: &'static [Target], meaning: &'static str) -> Field {
    Field { name, targets, meaning }
}

const FLOWS: &[Target] = &[Access, Deny];

/// All fields, by name.
#[rustfmt::skip]
pub(crate) const FIELDS: &[Field] = &[
    field("age_seconds", &[Config], "How old the saved objects are"),
    field("bytes.received", &[Access], "Bytes to the pod, at the end of a connection"),
    field("bytes.sent", &[Access], "Bytes from the pod, at the end of a connection"),
    field("cgroup", &[Module], "The cgroup where the hooks are attached"),
    field("conn.id", FLOWS, "The same in all lines of one connection until the node is booted again: the cookie of the pod's socket. Packets and frames have none"),
    field("direction", FLOWS, "Who opened the connection: `outbound` is the pod"),
    field("dst.addr", FLOWS, "What the pod dialled, with the port where the protocol has one"),
    field("dst.service", FLOWS, "The host that the rule is for"),
    field("duration_ms", &[Access], "How long the connection was open or the request took, at its end"),
    field("ends", &[Module], "When a certificate ends"),
    field("error", &[Access, Config, Module], "What went wrong, with its causes"),
    field("event", &[Access], "`verdict`, `close` at the end of a connection, or `request` at the end of one"),
    field("field", &[Config], "The path of the field in the object"),
    field("file", &[Module], "The CNI configuration that has the plugin's entry"),
    field("generation", &[Access, Config, Deny], "The generation of rules that judged, or that is in force"),
    field("holder", &[Config], "The node whose agent is the elected status writer"),
    field("hook", &[Module], "The kernel hook"),
    field("http.cluster", &[Access, Module], "The destination of a request, by the name of its cluster"),
    field("http.flags", &[Access], "What went wrong with a request, in Envoy's words; `-` for nothing"),
    field("http.host", &[Access], "The host of a request"),
    field("http.method", &[Access], "The method of a request"),
    field("http.path", &[Access], "The path and query of a request"),
    field("http.route", &[Access], "The name of the route that a request took, where it has one"),
    field("http.status", &[Access], "The status that the client was told; 0 where it was told none"),
    field("http.tries", &[Access], "How often a request was sent"),
    field("identity", &[Module], "Whose certificate it is: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME`"),
    field("interface", &[Module], "The index of a network interface"),
    field("layer", FLOWS, "Who judged: `connect` (socket calls), `packet`, `link` (frames on the pod's link) or `proxy`"),
    field("lease", &[Config], "The name of a Lease"),
    field("limit", &[Module], "The limit of open files"),
    field("listen", &[Module], "Where the CA answers"),
    field("netns", &[Module], "The kernel's number (cookie) of a network namespace"),
    field("node", &[Config, Module], "The name of a node"),
    field("object", &[Config], "The object, as `Kind namespace/name`"),
    field("objects", &[Config], "How many objects the generation is made from"),
    field("open", &[Module], "How many connections are open through the proxy"),
    field("path", &[Config, Module], "A file"),
    field("pid", &[Module], "The number of another agent's process"),
    field("place", &[Config, Module], "The file and document of an object, or the cgroup or link of a hook"),
    field("pod", &[Module], "The pod, as `namespace/name`"),
    field("port", &[Module], "The port of the proxy in a pod"),
    field("problem", &[Module], "What keeps the CNI plugin from its place"),
    field("protocol", FLOWS, "`tcp`, `udp`, `icmp`, `icmpv6`, or the number"),
    field("reason", &[Access, Deny, Module], "Why it was decided so, or why the proxy could not carry a connection"),
    field("record", &[Module], "An event that the kernel sent"),
    field("resets", &[Config], "How many open connections the generation reset"),
    field("resource", &[Config], "The resource, as `kubectl` names it"),
    field("roots", &[Module], "What tells the mesh's roots from others"),
    field("rule", FLOWS, "The object and field that decided"),
    field("sandbox", &[Module], "The container runtime's name of the pod's sandbox"),
    field("serial", &[Module], "The serial number of a certificate, in hexadecimal"),
    field("server", &[Module], "The API server"),
    field("socket", &[Module], "The container runtime's socket"),
    field("src.addr", &[Access, Deny, Module], "The pod's address, with the port once it is chosen"),
    field("src.workload", FLOWS, "The pod, as `namespace/name`"),
    field("suppressed", &[Deny], "How many lines were left out since the last one, at most five a second are written"),
    field("there", &[Config], "The version that the API server has now"),
    field("tls.peer", &[Access], "As whom the other end has shown itself by the mesh's TLS"),
    field("tls.server_name", &[Access], "The server name that a connection's TLS asks for, where the proxy read it"),
    field("upstream.addr", &[Access, Module], "What the proxy dialled"),
    field("user", &[Module], "Whose token an asker of the CA showed"),
    field("verb", &[Config], "What is done to a resource"),
    field("verdict", FLOWS, "`direct`, `proxy`, `deny` or `hold`"),
    field("version", &[Config], "The version that was seen before"),
    field("why", &[Config, Module], "The reason, for people"),
    field("writes", &[Config], "How many entries of the kernel's maps the generation changed"),
    field("written", &[Config], "When the objects were saved"),
];

#[cfg(test)]
mod tests;
