//! Layer 2: packets that leave a socket. Catches what has no socket hook (raw and ping sockets) and
//! connections that are older than the rule that denies them.
//!
//! A direct connection is remembered in its socket once it has sent eight segments, and is then judged once
//! a generation. Remembering each would cost three times the verdict.
//!
//! Wants `bpf_get_netns_cookie` for this program type (6.11); without it layers 1 and 3 remain. Detached,
//! raw and ping sockets get no errno; layer 3 still stops their frames.

use agent_abi::{
    LAYER_PACKET, Reason, SocketKind, SocketState, Standing, Tables, canary, protocol,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_TCP_LISTEN, bpf_sock},
    helpers::generated::{bpf_get_netns_cookie, bpf_sk_fullsock, bpf_tcp_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};

use crate::{
    maps::{Live, remember, socket},
    traffic::{self, LOOPBACK, Leave, PacketContext},
};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
/// Segments sent by a connection that is worth remembering: the memory costs about as much as
/// judging four packets.
const BUSY: u32 = 8;

#[cgroup_skb(egress)]
pub(crate) fn skb_egress(ctx: SkBuffContext) -> i32 {
    if judge(&ctx) { ALLOW } else { REFUSE }
}

#[inline(always)]
fn judge(ctx: &SkBuffContext) -> bool {
    let raw = ctx.skb.skb;
    // SAFETY: words of the context.
    let (interface, mark, sk) =
        unsafe { ((*raw).ifindex, (*raw).mark, (*raw).__bindgen_anon_2.sk) };
    if (interface == LOOPBACK && mark != canary::MARK) || sk.is_null() {
        return true;
    }
    // SAFETY: a socket pointer of the context, not null.
    let full: *mut bpf_sock = unsafe { bpf_sk_fullsock(sk) };
    if full.is_null() {
        // A connection request or one that waits out its end: only the kernel sends for these.
        return true;
    }
    let Some(tables) = Live::new() else { return false };
    // SAFETY: a full socket, not null.
    let state = unsafe { socket(full) };
    let mut was_direct = false;
    if let Some(state) = &state {
        match state.kind {
            SocketKind::AGENT | SocketKind::ACCEPTED => return true,
            // A TCP socket's peer cannot change without another connect(), which forgets this.
            SocketKind::DIRECT if state.protocol == protocol::TCP => {
                if state.generation == tables.generation() {
                    return true;
                }
                was_direct = true;
            }
            _ => {}
        }
    }
    // SAFETY: the context of the program that runs.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    // Most namespaces of a node are not ours: they are told before a header is read.
    let standing = Standing::of(&tables, netns);
    let reason = standing.unnamed().reason;
    if reason.leaves_namespace_alone() || (reason == Reason::UnknownHeld && is_welcoming(full)) {
        return true;
    }
    let skb = &ctx.skb;
    let context =
        PacketContext { layer: LAYER_PACKET, netns, standing, skb, offset: 0, was_direct };
    match traffic::leaving(&context, &tables) {
        Leave::Direct(generation) => {
            remember_busy(full, state, netns, generation);
            true
        }
        Leave::Passes => true,
        Leave::Refused => false,
    }
}

/// True for a listening TCP socket: all that the kernel sends for one are SYN-ACKs, and a process
/// can send nothing by it. Layer 3 learns who asks a pod for a connection; a pod that is held has no
/// layer 3.
#[inline(always)]
fn is_welcoming(sk: *mut bpf_sock) -> bool {
    // SAFETY: words of a full socket, not null.
    let (state, number) = unsafe { ((*sk).state, (*sk).protocol) };
    state == BPF_TCP_LISTEN && number == u32::from(protocol::TCP)
}

/// Remembers a TCP connection that has sent enough for the memory to pay: its packets are then
/// judged once a generation.
#[inline(always)]
fn remember_busy(sk: *mut bpf_sock, state: Option<&mut SocketState>, netns: u64, generation: u64) {
    if let Some(state) = state {
        if state.kind == SocketKind::DIRECT && state.protocol == protocol::TCP {
            state.generation = generation;
        }
        return;
    }
    // SAFETY: a full socket, not null; null comes back for one that is not TCP's.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    // SAFETY: not null by the first condition, and then a view of the socket.
    if tcp.is_null() || unsafe { (*tcp).segs_out } < BUSY {
        return;
    }
    let mut fresh = SocketState {
        kind: SocketKind::DIRECT,
        generation,
        netns,
        protocol: protocol::TCP,
        ..SocketState::default()
    };
    // SAFETY: a full socket, not null. Without memory its packets are judged one by one.
    let _ = unsafe { remember(sk, &mut fresh) };
}
