//! TCP connections as they begin and end: where a proxied one was going, which ones a pod accepted,
//! and what a direct one carried.
//!
//! Detached, proxied connections are refused (no original destination), and servers' answers pass
//! by layer 3's memory of what came in.

use agent_abi::{
    Flow, FlowKey, OpenedBy, Origin, OriginKey, PodKey, SocketKind, SocketState, Standing, Tables,
    counter, policy_flag, protocol,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING,
        BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK, BPF_TCP_TIME_WAIT, bpf_sock,
    },
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    macros::sock_ops,
    programs::SockOpsContext,
};
use aya_log_ebpf::warn;

use crate::{
    context::{local, remote},
    flows,
    maps::{ADDRESSES, Live, ORIGINS, remember, socket},
    report::{self, Carried, Own},
};

#[sock_ops]
pub(crate) fn tcp_events(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => begins(&ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => ends(&ctx),
        _ => {}
    }
    1
}

#[inline(always)]
fn full_socket(ctx: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: a word of the context; null unless the socket is a full one.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk)
}

/// Runs with the source port chosen and before the SYN leaves.
#[inline(always)]
fn begins(ctx: &SockOpsContext) {
    let Some(sk) = full_socket(ctx) else { return };
    // SAFETY: a full socket, not null.
    match unsafe { socket(sk) } {
        Some(state) if state.kind == SocketKind::AGENT => {
            flows::open(&agents_flow(ctx), OpenedBy::AGENT);
            if leaves_a_pod(ctx) {
                introduce(ctx);
            }
        }
        Some(state) if state.kind == SocketKind::PROXIED => {
            let origin = Origin {
                dst: state.dst,
                dst_port: state.dst_port,
                pad: 0,
                rule: state.rule,
                pad2: 0,
                generation: state.generation,
                socket: cookie(ctx),
            };
            // Full: the proxy finds no original destination and refuses.
            if ORIGINS.insert(origin_key(state, ctx), origin, 0).is_err() {
                report::count(counter::ORIGINS_FULL);
                warn!(ctx, "no room for an original destination of namespace {}", state.netns);
            }
        }
        _ if leaves_a_pod(ctx) => introduce(ctx),
        _ => return,
    }
    // Wanted: the state callback, for `ends`. It is refused on no kernel that has the operation.
    let _ = ctx.set_cb_flags(BPF_SOCK_OPS_STATE_CB_FLAG.cast_signed());
}

/// True for a connection of a judged pod to another host.
#[inline(always)]
fn leaves_a_pod(ctx: &SockOpsContext) -> bool {
    let Some(tables) = Live::new() else { return false };
    let netns = netns(ctx);
    if netns == tables.host_netns() {
        return false;
    }
    let key = PodKey { netns, slot: (tables.generation() & 1) as u32, pad: 0 };
    let Some(pod) = tables.pod(&key) else { return false };
    let (dst, _) = remote(ctx);
    let own = dst.is_local() || dst == pod.addr4 || dst == pod.addr6;
    pod.flags & policy_flag::ENROLLED != 0 && !own
}

/// Tells the pod that a connection is for, where it is one of this node, that it is an enrolled
/// pod's: it cannot tell by the address.
#[inline(always)]
fn introduce(ctx: &SockOpsContext) {
    if let Some(key) = as_arrives(ctx) {
        flows::open(&key, OpenedBy::MEMBER);
    }
}

/// A connection as the pod of this node knows it that is its far end.
#[inline(always)]
fn as_arrives(ctx: &SockOpsContext) -> Option<FlowKey> {
    let (dst, dst_port) = remote(ctx);
    // SAFETY: one word, written by a single store.
    let netns = unsafe { ADDRESSES.get(dst) }.copied()?;
    let (peer, peer_port) = local(ctx);
    let protocol = u32::from(protocol::TCP);
    Some(FlowKey { netns, peer, peer_port, pod_port: dst_port, protocol, pad: 0 })
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the context of the program that runs.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn netns(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the context of the program that runs.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// A pod's server took a connection: what it sends there are answers, also while the pod is held.
#[inline(always)]
fn accepted(ctx: &SockOpsContext) {
    let netns = netns(ctx);
    let Some(tables) = Live::new() else { return };
    if Standing::of(&tables, netns).unnamed().reason.leaves_namespace_alone() {
        return;
    }
    let Some(sk) = full_socket(ctx) else { return };
    let mut state = SocketState { kind: SocketKind::ACCEPTED, netns, ..SocketState::default() };
    // SAFETY: a full socket, not null.
    if !unsafe { remember(sk, &mut state) } {
        report::count(counter::SOCKETS_FULL);
        warn!(ctx, "no memory to remember a socket of namespace {}", netns);
    }
}

#[inline(always)]
fn ends(ctx: &SockOpsContext) {
    let Some(sk) = full_socket(ctx) else { return };
    // SAFETY: a full socket, not null.
    match unsafe { socket(sk) } {
        Some(state) if state.kind == SocketKind::AGENT => {
            flows::close(&agents_flow(ctx), OpenedBy::AGENT);
            take_leave(ctx);
        }
        Some(state) if state.kind == SocketKind::PROXIED => {
            // Nothing to remove when the proxy has taken it.
            let _ = ORIGINS.remove(origin_key(state, ctx));
        }
        _ => {
            report_end(ctx);
            take_leave(ctx);
        }
    }
}

/// Undoes [`introduce`]: the same addresses and ports may be another's next.
#[inline(always)]
fn take_leave(ctx: &SockOpsContext) {
    if let Some(key) = as_arrives(ctx) {
        flows::close(&key, OpenedBy::MEMBER);
    }
}

#[inline(always)]
fn report_end(ctx: &SockOpsContext) {
    let (dst, dst_port) = remote(ctx);
    let flow = Flow { netns: netns(ctx), dst, dst_port, protocol: protocol::TCP };
    let own = Own { port: ctx.local_port() as u16, socket: cookie(ctx) };
    // SAFETY: words of the context.
    let (acked, received, rtt) =
        unsafe { ((*ctx.ops).bytes_acked, (*ctx.ops).bytes_received, (*ctx.ops).srtt_us) };
    // The kernel's counts are of sequence numbers: our SYN has one, and so has each FIN.
    let before = ctx.arg(0);
    let own_fin = matches!(
        before,
        BPF_TCP_FIN_WAIT2 | BPF_TCP_TIME_WAIT | BPF_TCP_LAST_ACK | BPF_TCP_CLOSING
    );
    let peers_fin = own_fin || before == BPF_TCP_CLOSE_WAIT;
    let carried = Carried {
        sent: acked.saturating_sub(1 + u64::from(own_fin)),
        received: received.saturating_sub(u64::from(peers_fin)),
        rtt_us: rtt >> 3,
    };
    report::closed(&flow, own, &carried);
}

#[inline(always)]
fn origin_key(state: &SocketState, ctx: &SockOpsContext) -> OriginKey {
    OriginKey { netns: state.netns, port: ctx.local_port(), family: state.dst.family }
}

#[inline(always)]
fn agents_flow(ctx: &SockOpsContext) -> FlowKey {
    let (peer, peer_port) = remote(ctx);
    FlowKey {
        netns: netns(ctx),
        peer,
        peer_port,
        pod_port: ctx.local_port() as u16,
        protocol: u32::from(protocol::TCP),
        pad: 0,
    }
}
