//! What is decided, and why. Both are numbers on the wire and names in user space.

/// What happens to a connection, a datagram or a frame.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Goes out untouched.
    Direct = 1,
    /// Goes to the node's proxy.
    Proxy = 2,
    /// Is refused.
    Deny = 3,
    /// Is refused for now: the pod is not known yet, and the caller may try again.
    Hold = 4,
}

/// Why it was decided so.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The host's own namespace is not judged.
    Host = 1,
    /// The pod is known and not enrolled.
    NotEnrolled = 2,
    /// The pod is not known, and unknown pods are not judged.
    UnknownAllowed = 3,
    /// The pod is not known, and unknown pods are held.
    UnknownHeld = 4,
    /// The destination is the pod itself, by loopback or by one of its own addresses.
    Local = 5,
    /// A rule names the destination.
    Rule = 6,
    /// No rule does, and the policy lets any through.
    DefaultAllow = 7,
    /// No rule does, and the policy denies the rest.
    NoRule = 8,
    /// No rule does; the policy would deny the rest, and only audits.
    WouldDeny = 9,
    /// The frame answers one that came in.
    Answer = 10,
    /// The socket is the agent's own.
    Agent = 11,
    /// The port is the proxy's, and a pod must not take it.
    ReservedPort = 12,
    /// The destination belongs to the proxy, and this frame did not come by way of it.
    BypassesProxy = 13,
    /// The frame is not IPv4, IPv6 or ARP, or carries a tag.
    NotIp = 14,
    /// The packet's headers are cut short, contradict themselves or are nested too deep.
    Malformed = 15,
    /// A later fragment of a datagram whose first one was not let out.
    StrayFragment = 16,
    /// A neighbour-discovery or multicast-listener message that the pod's own network needs.
    Neighbour = 17,
    /// The flow was let out under an earlier generation, and open flows are kept.
    Kept = 18,
    /// The connection is for the proxy, and the table of original destinations is full.
    OriginsFull = 19,
    /// The verdict has turned to deny while the connection was open.
    Revoked = 20,
    /// The connection is for the proxy, and the proxy has no listener in the pod.
    ProxyAbsent = 21,
    /// No host has the destination: a canary asks whether the hooks are alive ([`crate::canary`]).
    Canary = 22,
    /// The port takes nothing but the mesh's mutual TLS, and this was none.
    Plaintext = 23,
}

macro_rules! from_word {
    ($name:ident: $($variant:ident),+ $(,)?) => {
        impl $name {
            /// The value that a word from the kernel stands for, if it is one of ours.
            pub const fn from_word(word: u32) -> Option<Self> {
                $(if word == Self::$variant as u32 { return Some(Self::$variant); })+
                None
            }
        }
    };
}

from_word!(Verdict: Direct, Proxy, Deny, Hold);
from_word!(
    Reason: Host, NotEnrolled, UnknownAllowed, UnknownHeld, Local, Rule, DefaultAllow, NoRule,
    WouldDeny, Answer, Agent, ReservedPort, BypassesProxy, NotIp, Malformed, StrayFragment,
    Neighbour, Kept, OriginsFull, Revoked,
    ProxyAbsent, Canary, Plaintext,
);

impl Verdict {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Proxy => "proxy",
            Self::Deny => "deny",
            Self::Hold => "hold",
        }
    }
}

impl Reason {
    /// True where nothing of a namespace is judged.
    pub const fn leaves_namespace_alone(self) -> bool {
        matches!(self, Self::Host | Self::NotEnrolled | Self::UnknownAllowed)
    }

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::NotEnrolled => "not-enrolled",
            Self::UnknownAllowed => "unknown-pod-allowed",
            Self::UnknownHeld => "unknown-pod-held",
            Self::Local => "local",
            Self::Rule => "rule",
            Self::DefaultAllow => "allow-any",
            Self::NoRule => "no-rule",
            Self::WouldDeny => "would-deny",
            Self::Answer => "answer",
            Self::Agent => "agent",
            Self::ReservedPort => "reserved-port",
            Self::BypassesProxy => "bypasses-proxy",
            Self::NotIp => "not-ip",
            Self::Malformed => "malformed",
            Self::StrayFragment => "stray-fragment",
            Self::Neighbour => "neighbour",
            Self::Kept => "kept",
            Self::OriginsFull => "origins-full",
            Self::Revoked => "revoked",
            Self::ProxyAbsent => "proxy-absent",
            Self::Canary => "canary",
            Self::Plaintext => "plaintext",
        }
    }
}
