//! Events and counters. A full ring loses the event and counts the loss; a verdict never waits.

use agent_abi::{
    Event, EventKind, Flow, Judgement, LAYER_CONNECT, LAYER_INBOUND, LAYER_PACKET, Proof, ProofKey,
    Reason, Verdict, counter,
};
use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
};

use crate::maps::{COUNTERS, EVENTS, PROOFS};

const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: a per-CPU value, and programs of one CPU do not interleave on it for longer
        // than an increment; a lost one would cost a count, not a verdict.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}

/// The pod's end, as far as it is known.
#[derive(Clone, Copy, Default)]
pub(crate) struct Own {
    /// Zero when it is not chosen yet.
    pub(crate) port: u16,
    /// The socket's cookie, zero where there is none.
    pub(crate) socket: u64,
}

/// Reports and counts a verdict.
#[inline(always)]
pub(crate) fn verdict(layer: u32, flow: &Flow, own: Own, judgement: &Judgement) {
    count(index_of(layer, judgement));
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(counter::EVENTS_LOST);
        return;
    };
    // Only a socket call runs in the context of its caller.
    let pid = if layer == LAYER_CONNECT { (bpf_get_current_pid_tgid() >> 32) as u32 } else { 0 };
    entry.write(Event {
        kind: EventKind::VERDICT,
        layer,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        netns: flow.netns,
        generation: judgement.generation,
        verdict: judgement.verdict as u32,
        reason: judgement.reason as u32,
        rule: judgement.rule,
        dst: flow.dst,
        dst_port: flow.dst_port,
        src_port: own.port,
        protocol: u32::from(flow.protocol),
        bytes_sent: 0,
        bytes_received: 0,
        duration_ns: 0,
        rtt_us: 0,
        pid,
        socket: own.socket,
    });
    // What was let out can wait for the reader's next look; waking it costs more than the verdict.
    let waits = matches!(judgement.verdict, Verdict::Direct | Verdict::Proxy);
    entry.submit(if waits { NO_WAKEUP } else { 0 });
}

#[inline(always)]
fn index_of(layer: u32, judgement: &Judgement) -> u32 {
    match judgement.verdict {
        Verdict::Direct if matches!(judgement.reason, Reason::WouldDeny) => counter::WOULD_DENY,
        Verdict::Direct => counter::DIRECT,
        Verdict::Proxy => counter::PROXY,
        Verdict::Hold => counter::HOLD,
        Verdict::Deny if layer == LAYER_CONNECT => counter::DENY_CONNECT,
        Verdict::Deny if layer == LAYER_PACKET => counter::DENY_PACKET,
        Verdict::Deny if layer == LAYER_INBOUND => counter::DENY_INBOUND,
        Verdict::Deny => counter::DENY_LINK,
    }
}

/// Notes that a hook has refused a canary. No application asked for its destination, so there is no event
/// and no count.
#[inline(always)]
pub(crate) fn proved(netns: u64, (hook, interface): (u32, u32), generation: u64) {
    // SAFETY: a helper without arguments.
    let proof = Proof { generation, seen_ns: unsafe { bpf_ktime_get_ns() } };
    // Without room the proof is missing, and the agent says so.
    let _ = PROOFS.insert(ProofKey { netns, hook, interface }, proof, 0);
}

/// What a connection carried.
pub(crate) struct Carried {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) rtt_us: u32,
}

/// Reports the end of a direct connection.
#[inline(always)]
pub(crate) fn closed(flow: &Flow, own: Own, carried: &Carried) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(counter::EVENTS_LOST);
        return;
    };
    entry.write(Event {
        kind: EventKind::CLOSE,
        layer: LAYER_CONNECT,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        netns: flow.netns,
        generation: 0,
        verdict: Verdict::Direct as u32,
        reason: Reason::Rule as u32,
        rule: 0,
        dst: flow.dst,
        dst_port: flow.dst_port,
        src_port: own.port,
        protocol: u32::from(flow.protocol),
        bytes_sent: carried.sent,
        bytes_received: carried.received,
        duration_ns: 0,
        rtt_us: carried.rtt_us,
        pid: 0,
        socket: own.socket,
    });
    entry.submit(NO_WAKEUP);
}
