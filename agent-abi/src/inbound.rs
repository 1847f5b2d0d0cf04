//! What a pod lets in: the second judgement, of a connection's first segment and by the port that it is
//! for. Istio's `PeerAuthentication` decides it: a `STRICT` port takes nothing but the mesh's mutual TLS.

use crate::{Addr, FlowKey, Judgement, OpenedBy, Reason, Verdict, protocol};

/// Where agents of other nodes reach a pod with mutual TLS: HBONE's port. Taken in every mode, as Istio
/// does.
pub const MESH_PORT: u16 = 15_008;

/// A port of a pod in one of the two slots. A port without an entry takes what comes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundKey {
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// 0 or 1.
    pub slot: u32,
    /// The port that the pod listens on; zero stands for each that has no entry of its own.
    pub port: u16,
    /// Zero.
    pub pad: u16,
}

/// What a port takes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboundPort {
    /// Bits of [`inbound_flag`].
    pub flags: u32,
}

/// Bits of [`InboundPort::flags`].
pub mod inbound_flag {
    /// Plaintext is refused.
    pub const STRICT: u32 = 1;
    /// The kubelet probes this port: what the node itself sends to it is taken all the same.
    pub const PROBE: u32 = 1 << 1;
}

/// The first segment of a connection to a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// The address that it is for.
    pub local: Addr,
    /// See `local`.
    pub local_port: u16,
    /// Where it claims to come from.
    pub peer: Addr,
    /// See `peer`.
    pub peer_port: u16,
}

impl Arrival {
    /// As layer 3 knows the connection.
    #[inline(always)]
    pub const fn flow(&self) -> FlowKey {
        FlowKey {
            netns: self.netns,
            peer: self.peer,
            peer_port: self.peer_port,
            pod_port: self.local_port,
            protocol: protocol::TCP as u32,
            pad: 0,
        }
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its port takes it.
    Taken,
    /// Its port is strict, and the other end is known: the pod itself, a pod of this node or the
    /// kubelet's probe.
    Known,
    /// Its port is strict, and it is plaintext of a stranger.
    Refused,
}

impl Judgement {
    /// What is said of plaintext that [`admit`] refuses.
    #[inline(always)]
    pub const fn plaintext(generation: u64) -> Self {
        Self {
            verdict: Verdict::Deny,
            reason: Reason::Plaintext,
            rule: 0,
            generation,
            default_action: 0,
            proxy_port: 0,
        }
    }
}

/// Where the judgement reads.
pub trait InboundTables {
    /// A port of a pod.
    fn port(&self, key: &InboundKey) -> Option<InboundPort>;
    /// Who opened a flow: a value of [`OpenedBy`].
    fn opened_by(&self, key: &FlowKey) -> Option<u32>;
}

/// Judges what asks to be let in, by the slot of the generation in force.
///
/// Who is on the other end is never told by its address. The pod itself is: the kernel takes no
/// packet of an own address from outside, and answers to one never leave.
#[inline(always)]
pub fn admit<T: InboundTables>(tables: &T, slot: u32, arrival: &Arrival) -> Admission {
    if arrival.local_port == MESH_PORT {
        return Admission::Taken;
    }
    let key = InboundKey { netns: arrival.netns, slot, port: arrival.local_port, pad: 0 };
    let port = tables.port(&key).or_else(|| tables.port(&InboundKey { port: 0, ..key }));
    let flags = port.unwrap_or_default().flags;
    if flags & inbound_flag::STRICT == 0 {
        return Admission::Taken;
    }
    if arrival.peer == arrival.local || arrival.peer.is_local() {
        return Admission::Known;
    }
    match tables.opened_by(&arrival.flow()) {
        Some(OpenedBy::MEMBER) => Admission::Known,
        Some(OpenedBy::NODE) if flags & inbound_flag::PROBE != 0 => Admission::Known,
        _ => Admission::Refused,
    }
}

const _: () = {
    assert!(size_of::<InboundKey>() == 16);
    assert!(size_of::<InboundPort>() == 4);
};
