//! `sk_lookup` in the network namespace of a pod with a strict port: the first segment of a connection,
//! before a listener is looked for.
//!
//! Refused, it is answered as if no socket listened: `ECONNREFUSED`. Detached, or where the pod is in no
//! generation, everything comes in as without a mesh.
//!
//! The hook cannot ask for its namespace, so there is one instance of the program for each pod, with
//! the namespace's cookie as a constant. Datagrams are no business of mutual TLS.

use agent_abi::{
    Addr, Admission, Arrival, Flow, FlowKey, InboundKey, InboundPort, InboundTables, Judgement,
    LAYER_INBOUND, Tables as _, admit, protocol,
};
use aya_ebpf::{
    bindings::{bpf_sk_lookup, sk_action},
    macros::sk_lookup,
    programs::SkLookupContext,
};

use crate::{
    flows,
    maps::{INBOUND, Live},
    report::{self, Own},
};

/// The cookie of the namespace that this instance is attached to; set by the loader.
#[unsafe(no_mangle)]
static NETNS: u64 = 0;

#[sk_lookup]
pub(crate) fn sk_inbound(ctx: SkLookupContext) -> u32 {
    if takes(&ctx) { sk_action::SK_PASS } else { sk_action::SK_DROP }
}

#[inline(always)]
fn takes(ctx: &SkLookupContext) -> bool {
    // SAFETY: a word of the context.
    let is_tcp = unsafe { (*ctx.lookup).protocol } == u32::from(protocol::TCP);
    if !is_tcp {
        return true;
    }
    // A map of one entry: there is always a view.
    let Some(tables) = Live::new() else { return false };
    let arrival = arrival(ctx);
    let generation = tables.generation();
    if admit(&tables, (generation & 1) as u32, &arrival) != Admission::Refused {
        return true;
    }
    let flow = Flow {
        netns: arrival.netns,
        dst: arrival.peer,
        dst_port: arrival.peer_port,
        protocol: protocol::TCP,
    };
    let own = Own { port: arrival.local_port, socket: 0 };
    report::verdict(LAYER_INBOUND, &flow, own, &Judgement::plaintext(generation));
    false
}

#[inline(always)]
fn arrival(ctx: &SkLookupContext) -> Arrival {
    let raw = ctx.lookup;
    // SAFETY: a static that the loader fixes before the program is loaded.
    let netns = unsafe { core::ptr::read_volatile(&raw const NETNS) };
    // SAFETY: words of the context; the far port is in network order and the own one is not.
    let (local_port, peer_port) =
        unsafe { ((*raw).local_port as u16, u16::from_be((*raw).remote_port)) };
    let (local, peer) = ends(raw);
    Arrival { netns, local, local_port, peer, peer_port }
}

const AF_INET: u32 = 2;

#[inline(always)]
fn ends(raw: *mut bpf_sk_lookup) -> (Addr, Addr) {
    // SAFETY: words of the context.
    unsafe {
        if (*raw).family == AF_INET {
            (Addr::v4((*raw).local_ip4), Addr::v4((*raw).remote_ip4))
        } else {
            (Addr::v6((*raw).local_ip6), Addr::v6((*raw).remote_ip6))
        }
    }
}

impl InboundTables for Live {
    #[inline(always)]
    fn port(&self, key: &InboundKey) -> Option<InboundPort> {
        // SAFETY: user space writes only to the slot that is not in force.
        unsafe { INBOUND.get(key) }.copied()
    }

    #[inline(always)]
    fn opened_by(&self, key: &FlowKey) -> Option<u32> {
        flows::opened_by(key)
    }
}
