//! What layers 2 and 3 make of one packet. They see packets and not calls, so they must tell a pod's own
//! packets from its answers to others and from the agent's.
//!
//! The rules are asked first, so a direct connection needs no memory. What the rules do not let out is
//! looked up in FLOWS, by who sent the flow's first packet ([`OpenedBy`]):
//!
//! - an arriving packet makes a flow the peer's, and then the pod's packets are answers. Where it was
//!   made in the node's own namespace the flow is the node's: the kubelet's probes are told by that;
//! - a connection of an enrolled pod to another of this node enters at `sock_ops`, keyed by the latter;
//! - the agent's own connections enter at `sock_ops`, keyed by the pod, before their SYN leaves;
//! - user space enters the few that outlive a change of rules: from direct to proxied, to what has moved
//!   or is not ready without having been revoked, or with `--on-revoke keep`.
//!
//! A pod can write to none of it, so it cannot make its own traffic an answer by sending.

use agent_abi::{
    Addr, FAMILY_V4, Flow, FlowKey, FragmentKey, Judgement, LAYER_LINK, OpenedBy, Reason, Standing,
    Tables, Verdict, canary::hook, node_flag, policy_default, protocol,
};
use aya_ebpf::programs::sk_buff::SkBuff;

use crate::{
    flows::{self, SECOND, UDP_IDLE, begin, is_fresh, now, touch},
    headers::{self, Fragment, Packet},
    maps::{FRAGMENTS, Live},
    report::{self, Own},
};

/// Loopback is the first interface of every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Where a packet was seen, and what else is known of it.
pub(crate) struct PacketContext<'a> {
    pub(crate) layer: u32,
    pub(crate) netns: u64,
    /// How that namespace stands.
    pub(crate) standing: Standing,
    pub(crate) skb: &'a SkBuff,
    /// Where the network header begins.
    pub(crate) offset: u32,
    /// The socket was let out directly under some generation.
    pub(crate) was_direct: bool,
}

impl PacketContext<'_> {
    /// True where a packet is on its way out of the pod. What is for the pod itself the kernel sends
    /// by loopback; here it is for the reader of the link.
    #[inline(always)]
    fn is_outside(&self) -> bool {
        // SAFETY: a word of the context.
        self.layer == LAYER_LINK || unsafe { (*self.skb.skb).ifindex } != LOOPBACK
    }

    /// How a canary's proof names this place.
    #[inline(always)]
    fn hook(&self, dst: &Addr) -> (u32, u32) {
        let is_v4 = dst.family == FAMILY_V4;
        if self.layer != LAYER_LINK {
            return (if is_v4 { hook::PACKET4 } else { hook::PACKET6 }, 0);
        }
        // SAFETY: a word of the context.
        let interface = unsafe { (*self.skb.skb).ifindex };
        (if is_v4 { hook::WIRE4 } else { hook::WIRE6 }, interface)
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// A rule of this generation lets it out.
    Direct(u64),
    /// It may leave for another reason.
    Passes,
    /// It stays.
    Refused,
}

impl Leave {
    #[inline(always)]
    fn passes_if(passes: bool) -> Self {
        if passes { Self::Passes } else { Self::Refused }
    }
}

/// Judges a packet that leaves a pod.
#[inline(always)]
pub(crate) fn leaving(context: &PacketContext<'_>, tables: &Live) -> Leave {
    let Some(packet) = headers::read(context.skb, context.offset) else {
        return Leave::passes_if(unnamed(context, Reason::Malformed));
    };
    if packet.is_neighbour() {
        return Leave::Passes;
    }
    let fragment = FragmentKey {
        netns: context.netns,
        dst: packet.dst,
        id: packet.fragment_id,
        protocol: u32::from(packet.protocol),
        pad: 0,
    };
    if packet.fragment == Fragment::Later {
        // SAFETY: one word, written by a single store.
        let let_out = unsafe { FRAGMENTS.get(fragment) }.copied();
        let known = let_out == Some(tables.generation());
        return Leave::passes_if(known || unnamed(context, Reason::StrayFragment));
    }
    // Read before the judgement: a later one would outlive a change that comes in between.
    let generation = tables.generation();
    let leave = whole(context, tables, &packet);
    if leave != Leave::Refused && packet.fragment == Fragment::First {
        // Without an entry the later fragments are refused: the safe side.
        let _ = FRAGMENTS.insert(fragment, generation, 0);
    }
    leave
}

#[inline(always)]
fn key_of(netns: u64, packet: &Packet) -> FlowKey {
    FlowKey {
        netns,
        peer: packet.dst,
        peer_port: packet.dst_port,
        pod_port: packet.src_port,
        protocol: u32::from(packet.protocol),
        pad: 0,
    }
}

/// The rules first: what they let out needs no memory. Only what they do not is looked up.
#[inline(always)]
fn whole(context: &PacketContext<'_>, tables: &Live, packet: &Packet) -> Leave {
    let has_ports = matches!(packet.protocol, protocol::TCP | protocol::UDP);
    let flow = Flow {
        netns: context.netns,
        dst: packet.dst,
        dst_port: if has_ports { packet.dst_port } else { 0 },
        protocol: packet.protocol,
    };
    let mut judgement = context.standing.decide(tables, &flow);
    if judgement.reason == Reason::Canary {
        report::proved(context.netns, context.hook(&packet.dst), judgement.generation);
        return Leave::Refused;
    }
    if judgement.reason == Reason::Local && context.is_outside() {
        judgement = context.standing.unnamed();
    }
    let key = key_of(context.netns, packet);
    if judgement.verdict == Verdict::Direct {
        if context.layer == LAYER_LINK && packet.protocol == protocol::UDP {
            claim(&key, judgement.generation);
        }
        if !has_ports && judgement.reason == Reason::WouldDeny {
            report::verdict(context.layer, &flow, Own::default(), &judgement);
        }
        return Leave::Direct(judgement.generation);
    }
    if passes_unnamed(context, tables, packet, &key, &judgement) {
        return Leave::Passes;
    }
    if judgement.verdict == Verdict::Proxy {
        (judgement.verdict, judgement.reason) = (Verdict::Deny, Reason::BypassesProxy);
    }
    let own = Own { port: packet.src_port, socket: 0 };
    report::verdict(context.layer, &flow, own, &judgement);
    Leave::Refused
}

/// Marks a flow of datagrams as the pod's, so that what comes back does not make it the peer's.
#[inline(always)]
fn claim(key: &FlowKey, generation: u64) {
    let now = now();
    match flows::get(key) {
        Some(state) if now.saturating_sub(state.seen_ns) <= UDP_IDLE => {
            if now.saturating_sub(state.seen_ns) > SECOND {
                state.seen_ns = now;
            }
        }
        _ => begin(key, OpenedBy::POD, generation, now),
    }
}

/// True for a packet that the rules do not let out by themselves, and that may leave all the same:
/// the agent's, an answer, or one of a connection that outlives its rule.
#[inline(always)]
fn passes_unnamed(
    context: &PacketContext<'_>,
    tables: &Live,
    packet: &Packet,
    key: &FlowKey,
    judgement: &Judgement,
) -> bool {
    let opens = packet.opens();
    let now = now();
    let mut was_let_out = context.was_direct;
    if let Some(state) = flows::get(key) {
        let passes = match state.opened_by {
            OpenedBy::AGENT => is_fresh(state, packet.protocol, now),
            OpenedBy::PEER | OpenedBy::NODE | OpenedBy::MEMBER | OpenedBy::KEPT => {
                !opens && is_fresh(state, packet.protocol, now)
            }
            _ => false,
        };
        if passes {
            touch(state, packet.ends(), now);
            return true;
        }
        was_let_out |= state.opened_by == OpenedBy::POD;
    }
    if packet.is_icmp_error() && quotes_allowed_flow(context, tables, packet) {
        return true;
    }
    match judgement.verdict {
        // No route is enforced where the registry does not decide, or on a connection that is
        // older than the route.
        Verdict::Proxy => {
            judgement.default_action != policy_default::REGISTRY_ONLY || (was_let_out && !opens)
        }
        Verdict::Deny => was_let_out && !opens && tables.flags() & node_flag::KEEP_REVOKED != 0,
        Verdict::Direct | Verdict::Hold => false,
    }
}

/// An ICMP error quotes the packet that came in. It passes when that packet was of a flow of the
/// peer's or the agent's, or of one that the pod may have with its sender.
#[inline(always)]
fn quotes_allowed_flow(context: &PacketContext<'_>, tables: &Live, packet: &Packet) -> bool {
    let Some(quoted) = headers::read_quoted(context.skb, packet.transport + 8) else {
        return false;
    };
    if quoted.src != packet.dst {
        return false;
    }
    let key = FlowKey {
        netns: context.netns,
        peer: quoted.src,
        peer_port: quoted.src_port,
        pod_port: quoted.dst_port,
        protocol: u32::from(quoted.protocol),
        pad: 0,
    };
    if let Some(state) = flows::get(&key)
        && state.opened_by != OpenedBy::POD
    {
        return is_fresh(state, quoted.protocol, now());
    }
    let flow = Flow {
        netns: context.netns,
        dst: quoted.src,
        dst_port: quoted.src_port,
        protocol: quoted.protocol,
    };
    let judgement = context.standing.decide(tables, &flow);
    judgement.verdict == Verdict::Direct && judgement.reason != Reason::Local
}

/// Judges what no rule can name, by the policy's default.
#[inline(always)]
pub(crate) fn unnamed(context: &PacketContext<'_>, reason: Reason) -> bool {
    let mut judgement = context.standing.unnamed();
    if judgement.verdict == Verdict::Direct {
        return true;
    }
    if judgement.verdict == Verdict::Deny {
        judgement.reason = reason;
    }
    let flow = Flow { netns: context.netns, ..Flow::default() };
    report::verdict(context.layer, &flow, Own::default(), &judgement);
    false
}

/// Learns from a packet that arrives at a pod which flows are the peer's.
#[inline(always)]
pub(crate) fn arriving(netns: u64, skb: &SkBuff, offset: u32) {
    let Some(packet) = headers::read(skb, offset) else { return };
    if packet.fragment == Fragment::Later {
        return;
    }
    let is_tcp = packet.protocol == protocol::TCP;
    let starts = match packet.protocol {
        protocol::TCP => packet.opens(),
        protocol::UDP => true,
        _ => packet.is_echo_request(),
    };
    // The pod's own end says that a connection is closing; of the peer's only a reset does, since
    // nothing follows it. A look for each FIN would be one for each direct connection too.
    if !starts && !packet.resets() {
        return;
    }
    let key = FlowKey {
        netns,
        peer: packet.src,
        peer_port: packet.src_port,
        pod_port: packet.dst_port,
        protocol: u32::from(packet.protocol),
        pad: 0,
    };
    let now = now();
    if let Some(state) = flows::get(&key) {
        let over = state.closing != 0 || (!is_tcp && now.saturating_sub(state.seen_ns) > UDP_IDLE);
        // A TCP connection of a peer's begins again with each SYN, which may be another's; one of
        // the pod's, or that is introduced, does only when the old one is over.
        let is_peers = matches!(state.opened_by, OpenedBy::PEER | OpenedBy::NODE);
        let restarts = starts && (over || (is_tcp && is_peers));
        if !restarts {
            touch(state, packet.resets(), now);
            return;
        }
    }
    if starts {
        // SAFETY: a word of the context; zero where no interface of this namespace received it.
        let is_made_here = unsafe { (*skb.skb).ingress_ifindex } == 0;
        let opened_by = if is_made_here { OpenedBy::NODE } else { OpenedBy::PEER };
        begin(&key, opened_by, 0, now);
    }
}
