//! Layer 3: frames on the host's end of a pod's link. What a pod cannot get around: packet
//! sockets, sockets of other cgroups, anything that the hooks inside did not see.
//!
//! tcx (6.6), or clsact in direct action on older kernels, with the same answers: `TC_ACT_UNSPEC` is
//! `TCX_NEXT` and goes on to the next filter too, `TC_ACT_SHOT` is `TCX_DROP`. Detached, frames of
//! packet sockets leave unjudged.

use agent_abi::{LAYER_LINK, Reason, Standing};
use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::classifier,
    programs::TcContext,
};

use crate::{
    headers::{IPV4_BE, IPV6_BE},
    maps::{Live, VETHS},
    traffic::{self, Leave, PacketContext},
};

const ETHERNET: u32 = 14;
const ARP_BE: u32 = 0x0806_u16.to_be() as u32;

/// Frames from the pod. An allowed one goes on to whatever else is attached here.
#[classifier]
pub(crate) fn link_from_pod(ctx: TcContext) -> i32 {
    if judge(&ctx) { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
}

/// Frames to the pod: never refused, only learnt from.
#[classifier]
pub(crate) fn link_to_pod(ctx: TcContext) -> i32 {
    learn(&ctx);
    TC_ACT_UNSPEC
}

#[inline(always)]
fn pod_of(ctx: &TcContext) -> Option<u64> {
    // SAFETY: a word of the context.
    let interface = unsafe { (*ctx.skb.skb).ifindex };
    // SAFETY: written once, before the program is attached to that interface.
    unsafe { VETHS.get(interface) }.copied()
}

#[inline(always)]
fn judge(ctx: &TcContext) -> bool {
    // The program is attached to enrolled pods' links alone, after their entries are written.
    let (Some(tables), Some(netns)) = (Live::new(), pod_of(ctx)) else { return false };
    let raw = ctx.skb.skb;
    // SAFETY: words of the context.
    let (ether_type, tagged) = unsafe { ((*raw).protocol, (*raw).vlan_present != 0) };
    let context = PacketContext {
        layer: LAYER_LINK,
        netns,
        standing: Standing::of(&tables, netns),
        skb: &ctx.skb,
        offset: ETHERNET,
        was_direct: false,
    };
    match ether_type {
        IPV4_BE | IPV6_BE if !tagged => traffic::leaving(&context, &tables) != Leave::Refused,
        ARP_BE if !tagged => true,
        _ => traffic::unnamed(&context, Reason::NotIp),
    }
}

#[inline(always)]
fn learn(ctx: &TcContext) {
    // SAFETY: a word of the context.
    let ether_type = unsafe { (*ctx.skb.skb).protocol };
    if !matches!(ether_type, IPV4_BE | IPV6_BE) {
        return;
    }
    if let Some(netns) = pod_of(ctx) {
        traffic::arriving(netns, &ctx.skb, ETHERNET);
    }
}
