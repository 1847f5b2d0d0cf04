//! Events and counters. A full ring loses the event and counts the loss; a verdict never waits.

use agent_abi::{
    Event, EventKind, Flow, Judgement, LAYER_CONNECT, LAYER_PACKET, Reason, SocketState, Verdict,
    counter,
};
use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
};

use crate::maps::{COUNTERS, EVENTS};

const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: a per-CPU value, and programs of one CPU do not interleave on it for longer
        // than an increment; a lost one would cost a count, not a verdict.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}

/// Reports and counts a verdict.
#[inline(always)]
pub(crate) fn verdict(layer: u32, flow: &Flow, src_port: u16, judgement: &Judgement) {
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
        src_port,
        protocol: u32::from(flow.protocol),
        bytes_sent: 0,
        bytes_received: 0,
        duration_ns: 0,
        rtt_us: 0,
        pid,
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
        Verdict::Deny => counter::DENY_WIRE,
    }
}

/// What a connection carried.
pub(crate) struct Carried {
    pub(crate) src_port: u16,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) rtt_us: u32,
}

/// Reports the end of a direct connection.
#[inline(always)]
pub(crate) fn closed(state: &SocketState, carried: &Carried) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(counter::EVENTS_LOST);
        return;
    };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    entry.write(Event {
        kind: EventKind::CLOSE,
        layer: LAYER_CONNECT,
        time_ns: now,
        netns: state.netns,
        generation: state.generation,
        verdict: Verdict::Direct as u32,
        reason: Reason::Rule as u32,
        rule: state.rule,
        dst: state.dst,
        dst_port: state.dst_port,
        src_port: carried.src_port,
        protocol: u32::from(state.protocol),
        bytes_sent: carried.sent,
        bytes_received: carried.received,
        duration_ns: now.saturating_sub(state.opened_ns),
        rtt_us: carried.rtt_us,
        pid: 0,
    });
    entry.submit(NO_WAKEUP);
}
