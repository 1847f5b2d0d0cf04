//! Layer 1: what a socket call wants, judged before a packet exists.
//!
//! Detached, a call is only caught as packets by the layers below, without an errno for TCP.

use agent_abi::{
    Addr, Flow, Judgement, LAYER_CONNECT, PodKey, Reason, SocketKind, SocketState, Tables, Verdict,
    counter, decide, protocol,
};
use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use aya_log_ebpf::warn;

use crate::{
    context::{Call, Sock, loopback},
    flows,
    maps::{Live, PODS, forget, remember, socket},
    report::{self, Own},
};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
const EAGAIN: i32 = 11;

/// Whether the kernel lets these hooks choose the errno (`bpf_set_retval`, 5.18); set by the
/// loader. Constant to the verifier, which then never sees the call on a kernel without it.
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: u8 = 0;

macro_rules! hooks {
    ($($name:ident, $attach:ident, $call:ident, $body:ident;)+) => {
        $(
            #[cgroup_sock_addr($attach)]
            pub(crate) fn $name(ctx: SockAddrContext) -> i32 {
                $body(&Sock::new(&ctx, Call::$call))
            }
        )+
    };
}

hooks! {
    sk_connect4, connect4, V4, connect;
    sk_connect6, connect6, V6, connect;
    sk_sendmsg4, sendmsg4, V4, send;
    sk_sendmsg6, sendmsg6, V6, send;
    sk_bind4, bind4, V4, bind;
    sk_bind6, bind6, V6, bind;
    sk_getpeername4, getpeername4, V4, peer_name;
    sk_getpeername6, getpeername6, V6, peer_name;
    sk_getsockname4, getsockname4, V4, own_name;
    sk_getsockname6, getsockname6, V6, own_name;
}

#[inline(always)]
fn netns(sock: &Sock<'_>) -> u64 {
    // SAFETY: the context of the program that runs.
    unsafe { bpf_get_netns_cookie(sock.context()) }
}

#[inline(always)]
fn is_agents(sk: *mut bpf_sock) -> bool {
    // SAFETY: the socket of a socket-address context is a full one.
    unsafe { socket(sk) }.is_some_and(|state| state.kind == SocketKind::AGENT)
}

#[inline(always)]
fn own(sock: &Sock<'_>, port: u16) -> Own {
    // SAFETY: the context of the program that runs.
    Own { port, socket: unsafe { bpf_get_socket_cookie(sock.context()) } }
}

#[inline(always)]
fn flow(sock: &Sock<'_>, netns: u64) -> Flow {
    Flow { netns, dst: sock.addr(), dst_port: sock.port(), protocol: sock.protocol() }
}

/// `connect()` of any socket type, and what Fast Open and MPTCP make of it.
#[inline(always)]
fn connect(sock: &Sock<'_>) -> i32 {
    let Some(tables) = Live::new() else { return REFUSE };
    let netns = netns(sock);
    if netns == tables.host_netns() || is_agents(sock.socket()) {
        return ALLOW;
    }
    let flow = flow(sock, netns);
    let mut judgement = decide(&tables, &flow);
    if judgement.reason == Reason::Canary {
        report::proved(netns, (sock.connect_hook(), 0), judgement.generation);
        return REFUSE;
    }
    match judgement.verdict {
        Verdict::Direct if !is_judged(judgement.reason) => {
            // The socket may have been on its way elsewhere before.
            // SAFETY: the socket of this context is a full one.
            unsafe { forget(sock.socket()) };
            return ALLOW;
        }
        Verdict::Deny if is_answerer(sock, &flow) => {
            // What it sends the layers below know as answers, as those of a socket without a peer.
            // SAFETY: the socket of this context is a full one.
            unsafe { forget(sock.socket()) };
            return ALLOW;
        }
        Verdict::Proxy if judgement.proxy_port == 0 => {
            (judgement.verdict, judgement.reason) = (Verdict::Deny, Reason::ProxyAbsent);
        }
        _ => {}
    }
    report::verdict(LAYER_CONNECT, &flow, own(sock, 0), &judgement);
    match judgement.verdict {
        Verdict::Direct => {
            // Nothing is remembered: it would cost more than the verdict, and most connections
            // end before the first lookup.
            // SAFETY: the socket of this context is a full one.
            unsafe { forget(sock.socket()) };
            ALLOW
        }
        Verdict::Proxy => {
            // Without the memory of what was dialled the proxy could only refuse.
            if !note(sock, SocketKind::PROXIED, &flow, &judgement) {
                return REFUSE;
            }
            sock.rewrite(&loopback(&flow.dst), judgement.proxy_port as u16);
            ALLOW
        }
        Verdict::Deny => REFUSE,
        Verdict::Hold => hold(),
    }
}

/// True for a datagram socket that takes a peer which has sent to its port: a server that answers
/// each peer by a socket of its own (DTLS, QUIC, TFTP). Only layer 3 knows of it, as in [`send`].
#[inline(always)]
fn is_answerer(sock: &Sock<'_>, flow: &Flow) -> bool {
    flow.protocol == protocol::UDP && flows::answers(flow, own_port(sock))
}

/// The port that the socket is bound to; zero while it has none.
#[inline(always)]
fn own_port(sock: &Sock<'_>) -> u16 {
    // SAFETY: a word of the socket of this context, which is a full one.
    unsafe { (*sock.socket()).src_port as u16 }
}

/// A datagram to an address of its own (an unconnected UDP socket).
#[inline(always)]
fn send(sock: &Sock<'_>) -> i32 {
    let Some(tables) = Live::new() else { return REFUSE };
    let netns = netns(sock);
    if netns == tables.host_netns() {
        return ALLOW;
    }
    let flow = flow(sock, netns);
    // SAFETY: the socket of this context is a full one.
    if let Some(state) = unsafe { socket(sock.socket()) } {
        let again = state.generation == tables.generation()
            && state.dst == flow.dst
            && state.dst_port == flow.dst_port;
        if state.kind == SocketKind::AGENT || (state.kind == SocketKind::DIRECT && again) {
            return ALLOW;
        }
    }
    let judgement = decide(&tables, &flow);
    if judgement.reason == Reason::Canary {
        report::proved(netns, (sock.send_hook(), 0), judgement.generation);
        return REFUSE;
    }
    if judgement.verdict == Verdict::Direct && !is_judged(judgement.reason) {
        return ALLOW;
    }
    let own_port = own_port(sock);
    if judgement.verdict == Verdict::Deny && flows::answers(&flow, own_port) {
        return ALLOW;
    }
    report::verdict(LAYER_CONNECT, &flow, own(sock, own_port), &judgement);
    match judgement.verdict {
        Verdict::Direct => {
            note(sock, SocketKind::DIRECT, &flow, &judgement);
            ALLOW
        }
        Verdict::Hold => hold(),
        // The proxy carries no datagrams.
        Verdict::Deny | Verdict::Proxy => REFUSE,
    }
}

/// Nothing in a pod takes the proxy's port, or it would get what is meant for the proxy.
#[inline(always)]
fn bind(sock: &Sock<'_>) -> i32 {
    let Some(tables) = Live::new() else { return REFUSE };
    let port = sock.port();
    if port == 0 || sock.protocol() != protocol::TCP {
        return ALLOW;
    }
    let netns = netns(sock);
    let generation = tables.generation();
    let key = PodKey { netns, slot: (generation & 1) as u32, pad: 0 };
    let Some(policy) = tables.pod(&key) else { return ALLOW };
    if policy.proxy_port != u32::from(port) || is_agents(sock.socket()) {
        return ALLOW;
    }
    let flow = flow(sock, netns);
    let judgement = Judgement {
        verdict: Verdict::Deny,
        reason: Reason::ReservedPort,
        rule: 0,
        generation,
        default_action: policy.default_action,
        proxy_port: policy.proxy_port,
    };
    report::verdict(LAYER_CONNECT, &flow, own(sock, port), &judgement);
    REFUSE
}

/// A proxied socket's peer is what it dialled.
#[inline(always)]
fn peer_name(sock: &Sock<'_>) -> i32 {
    // SAFETY: the socket of this context is a full one.
    if let Some(state) = unsafe { socket(sock.socket()) }
        && state.kind == SocketKind::PROXIED
    {
        sock.rewrite(&state.dst, state.dst_port);
    }
    ALLOW
}

/// A proxied socket's own address is the pod's, not loopback.
#[inline(always)]
fn own_name(sock: &Sock<'_>) -> i32 {
    // SAFETY: the socket of this context is a full one.
    let Some(state) = (unsafe { socket(sock.socket()) }) else { return ALLOW };
    if state.kind != SocketKind::PROXIED || !sock.addr().is_local() {
        return ALLOW;
    }
    let Some(tables) = Live::new() else { return ALLOW };
    let key = PodKey { netns: state.netns, slot: (tables.generation() & 1) as u32, pad: 0 };
    // SAFETY: user space writes only to the slot that is not in force.
    let Some(policy) = (unsafe { PODS.get(key) }) else { return ALLOW };
    let own = if state.dst.family == agent_abi::FAMILY_V4 { policy.addr4 } else { policy.addr6 };
    if own != Addr::NONE {
        sock.rewrite(&own, sock.port());
    }
    ALLOW
}

/// False for what is let out unseen: namespaces that are not ours, and the pod's talk to itself.
#[inline(always)]
fn is_judged(reason: Reason) -> bool {
    !matches!(reason, Reason::Host | Reason::NotEnrolled | Reason::UnknownAllowed | Reason::Local)
}

#[inline(always)]
fn note(sock: &Sock<'_>, kind: u32, flow: &Flow, judgement: &Judgement) -> bool {
    let mut state = SocketState {
        kind,
        rule: judgement.rule,
        generation: judgement.generation,
        netns: flow.netns,
        dst: flow.dst,
        dst_port: flow.dst_port,
        protocol: flow.protocol,
        pad: 0,
    };
    // SAFETY: the socket of this context is a full one.
    let noted = unsafe { remember(sock.socket(), &mut state) };
    if !noted {
        report::count(counter::SOCKETS_FULL);
        warn!(sock.log_context(), "no memory to remember a socket of namespace {}", flow.netns);
    }
    noted
}

/// Refuses with an errno that says "try again", where the kernel lets us choose.
#[inline(always)]
fn hold() -> i32 {
    // SAFETY: a static that the loader fixes before the program is loaded.
    if unsafe { core::ptr::read_volatile(&raw const HAS_SET_RETVAL) } != 0 {
        // SAFETY: a helper that takes a number.
        unsafe { bpf_set_retval(-EAGAIN) };
    }
    REFUSE
}
