//! Keys and values of the maps.
//!
//! A change of rules is published by one store: [`NodeState::generation`]. Its lowest bit is the
//! *slot*. What a generation says about a pod lies under [`PodKey`] with that slot, and what it
//! says about a prefix lies in [`PrefixValue`] at that index; user space writes only to the slot
//! that no generation in force uses, and a grace period after a flip. Rule sets are immutable:
//! a changed set gets a new number.

use crate::Addr;

/// The policy's answer where no rule matches: values of [`PodPolicy::default_action`].
pub mod policy_default {
    /// Everything passes (Istio's `ALLOW_ANY`).
    pub const ALLOW_ANY: u32 = 0;
    /// Nothing passes (Istio's `REGISTRY_ONLY`).
    pub const REGISTRY_ONLY: u32 = 1;
    /// Everything passes; what `REGISTRY_ONLY` would deny is reported.
    pub const AUDIT: u32 = 2;
}

/// Bits of [`PodPolicy::flags`].
pub mod policy_flag {
    /// The pod is judged. Without it the pod is known and not judged.
    pub const ENROLLED: u32 = 1;
}

/// Bits of [`NodeState::flags`].
pub mod node_flag {
    /// Pods that are not known are held rather than left alone.
    pub const HOLD_UNKNOWN: u32 = 1;
    /// Flows that were let out stay open when their rule goes (`--on-revoke keep`).
    pub const KEEP_REVOKED: u32 = 2;
}

/// Values of [`RuleValue::action`].
pub mod rule_action {
    /// Out, untouched.
    pub const DIRECT: u32 = 1;
    /// To the proxy.
    pub const PROXY: u32 = 2;
}

/// The one entry of the map NODE, in memory that user space shares with the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeState {
    /// The generation in force; its lowest bit is the slot. Zero before the first one.
    pub generation: u64,
    /// The cookie of the host's network namespace.
    pub host_netns: u64,
    /// Bits of [`node_flag`].
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}

/// A pod in one of the two slots.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// 0 or 1.
    pub slot: u32,
    /// Zero.
    pub pad: u32,
}

/// How a pod is judged.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodPolicy {
    /// The table whose prefixes apply ([`PrefixKey::table`]).
    pub table: u32,
    /// A value of [`policy_default`].
    pub default_action: u32,
    /// Bits of [`policy_flag`].
    pub flags: u32,
    /// The port of the proxy's listeners in the pod's namespace (loopback, both families); zero
    /// when there is none, and then what should go to the proxy is refused.
    pub proxy_port: u32,
    /// The pod's addresses; [`Addr::NONE`] where it lacks the family.
    pub addr4: Addr,
    /// See `addr4`.
    pub addr6: Addr,
    /// Room that only the next layout has; it lets a test upgrade across layouts.
    #[cfg(feature = "next-layout")]
    pub next: u64,
}

/// A prefix of a table, for a longest match. The kernel reads the first word as the number of bits
/// that count; the rest is the data, most significant bit first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixKey {
    /// [`PrefixKey::HEAD_BITS`] and the prefix's own length.
    pub bits: u32,
    /// The table, in any byte order (it is matched whole).
    pub table: u32,
    /// The address; its family word keeps `::/0` from covering IPv4.
    pub addr: Addr,
}

impl PrefixKey {
    /// Bits before the address proper: the table and the family.
    pub const HEAD_BITS: u32 = 64;

    /// The key that looks one address up.
    #[inline(always)]
    pub const fn exact(table: u32, addr: Addr) -> Self {
        Self { bits: Self::HEAD_BITS + addr.bits(), table, addr }
    }
}

/// The rule set that a prefix stands for, in each slot; zero for none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixValue {
    /// Set numbers by slot.
    pub set: [u32; 2],
}

/// A port of a rule set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey {
    /// The set.
    pub set: u32,
    /// The destination port, or zero for "any".
    pub port: u16,
    /// The protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// What a rule says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleValue {
    /// A value of [`rule_action`].
    pub action: u32,
    /// The rule's number, for events.
    pub rule: u32,
}

/// What a socket is to us: values of [`SocketState::kind`].
#[derive(Clone, Copy, Debug)]
pub struct SocketKind;

impl SocketKind {
    /// The agent's own: exempt everywhere. Set by the agent through the map; a pod cannot.
    pub const AGENT: u32 = 1;
    /// A pod's, let out directly: a UDP socket by what it last sent to, a TCP one once it has
    /// carried enough to be worth remembering.
    pub const DIRECT: u32 = 2;
    /// A pod's, on its way to the proxy or connected to it.
    pub const PROXIED: u32 = 3;
    /// A pod's, accepted from a peer.
    pub const ACCEPTED: u32 = 4;
}

/// What is remembered of one socket, for as long as it lives.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// A value of [`SocketKind`].
    pub kind: u32,
    /// The rule that let it out, or zero.
    pub rule: u32,
    /// The generation that it was last judged by.
    pub generation: u64,
    /// The cookie of its network namespace.
    pub netns: u64,
    /// What was dialled.
    pub dst: Addr,
    /// See `dst`.
    pub dst_port: u16,
    /// The protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// A connection on its way to the proxy, by what the proxy sees of it: unique in a namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginKey {
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// The source port of the pod's socket on loopback.
    pub port: u32,
    /// The family of the loopback connection: a port exists once in each.
    pub family: u32,
}

/// What the pod dialled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The address dialled.
    pub dst: Addr,
    /// The port dialled.
    pub dst_port: u16,
    /// Zero.
    pub pad: u16,
    /// The rule that sent it to the proxy, or zero.
    pub rule: u32,
    /// Zero.
    pub pad2: u32,
    /// The generation of the verdict.
    pub generation: u64,
    /// The cookie of the pod's socket: what ties the connection to the verdict about it.
    pub socket: u64,
}

/// A flow as layer 3 knows it. The pod's own address is left out: its port tells enough.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// The far end.
    pub peer: Addr,
    /// The far end's port; zero for ICMP.
    pub peer_port: u16,
    /// The pod's port; for ICMP echo the identifier.
    pub pod_port: u16,
    /// The protocol number.
    pub protocol: u32,
    /// Zero.
    pub pad: u32,
}

/// Who sent a flow's first packet: values of [`FlowState::opened_by`].
#[derive(Clone, Copy, Debug)]
pub struct OpenedBy;

impl OpenedBy {
    /// The far end, of which no more is known.
    pub const PEER: u32 = 1;
    /// The pod, by a verdict of [`FlowState::generation`]. For TCP user space says so, of
    /// connections that outlive the rule that let them out.
    pub const POD: u32 = 2;
    /// The agent, from inside the pod's namespace.
    pub const AGENT: u32 = 3;
    /// The pod, to what new connections may not go to any more although it was not revoked: user space
    /// says so, and takes it back.
    pub const KEPT: u32 = 4;
    /// The far end, and it is a process in the node's own network namespace: the packet was made there,
    /// and was not forwarded. The kubelet is one.
    pub const NODE: u32 = 5;
    /// The far end, and it is an enrolled pod of this node, or the agent on its behalf.
    pub const MEMBER: u32 = 6;

    /// True where the far end opened the flow: what the pod sends are answers.
    #[inline(always)]
    pub const fn is_far_end(opened_by: u32) -> bool {
        matches!(opened_by, Self::PEER | Self::NODE | Self::MEMBER)
    }
}

/// What is remembered of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// A value of [`OpenedBy`].
    pub opened_by: u32,
    /// Non-zero once the pod has said that it will send no more, or it has been reset.
    pub closing: u32,
    /// The generation that last let the pod send.
    pub generation: u64,
    /// When a packet was last seen, in nanoseconds of the coarse monotonic clock.
    pub seen_ns: u64,
}

/// A datagram in fragments, whose first one was let out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// Where it goes.
    pub dst: Addr,
    /// The identification field: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// The protocol number.
    pub protocol: u32,
    /// Zero.
    pub pad: u32,
}

/// A hook that has refused a canary.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProofKey {
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// One of [`crate::canary::hook`].
    pub hook: u32,
    /// At layer 3 the interface of the link's host end; zero elsewhere.
    pub interface: u32,
}

/// The last time that it did.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The generation that judged.
    pub generation: u64,
    /// When, in nanoseconds of the monotonic clock.
    pub seen_ns: u64,
}

const _: () = {
    assert!(size_of::<Addr>() == 20);
    assert!(size_of::<NodeState>() == 24);
    assert!(size_of::<PodKey>() == 16);
    assert!(cfg!(feature = "next-layout") || size_of::<PodPolicy>() == 56);
    assert!(size_of::<PrefixKey>() == 28);
    assert!(size_of::<PrefixValue>() == 8);
    assert!(size_of::<RuleKey>() == 8);
    assert!(size_of::<RuleValue>() == 8);
    assert!(size_of::<SocketState>() == 48);
    assert!(size_of::<OriginKey>() == 16);
    assert!(size_of::<Origin>() == 48);
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<FlowState>() == 24);
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<ProofKey>() == 16);
    assert!(size_of::<Proof>() == 16);
    assert!(core::mem::offset_of!(SocketState, dst) == 24);
    assert!(core::mem::offset_of!(PrefixKey, addr) == 8);
};

#[cfg(feature = "user")]
mod user {
    #![expect(unsafe_code, reason = "aya's marker for types that may cross the map boundary")]
    use super::{
        FlowKey, FlowState, FragmentKey, NodeState, Origin, OriginKey, PodKey, PodPolicy,
        PrefixKey, PrefixValue, Proof, ProofKey, RuleKey, RuleValue, SocketState,
    };

    macro_rules! plain {
        ($($name:ty),+ $(,)?) => {
            $(
                // SAFETY: `repr(C)`, integers only, and the size assertions above leave no
                // implicit padding.
                unsafe impl aya::Pod for $name {}
            )+
        };
    }
    plain!(
        FlowKey,
        FlowState,
        FragmentKey,
        NodeState,
        Origin,
        OriginKey,
        PodKey,
        PodPolicy,
        PrefixKey,
        PrefixValue,
        Proof,
        ProofKey,
        RuleKey,
        RuleValue,
        SocketState,
        crate::Event,
        crate::InboundKey,
        crate::InboundPort,
        crate::Addr,
    );
}
