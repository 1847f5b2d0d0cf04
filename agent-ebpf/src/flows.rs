//! FLOWS: who opened a flow, for what the rules do not let out and for what comes in.

use agent_abi::{Flow, FlowKey, FlowState, OpenedBy, protocol};
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;

use crate::maps::FLOWS;

pub(crate) const SECOND: u64 = 1_000_000_000;
/// How long a flow of the peer's is answered without a packet either way. For TCP and UDP these
/// are the kernel's own for connection tracking (nf_conntrack-sysctl, established and stream).
const TCP_IDLE: u64 = 432_000 * SECOND;
const TCP_CLOSED_IDLE: u64 = 120 * SECOND;
pub(crate) const UDP_IDLE: u64 = 120 * SECOND;
const ICMP_IDLE: u64 = 30 * SECOND;

/// The clock of [`FlowState::seen_ns`].
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Whether a flow was seen so lately that it counts.
#[inline(always)]
pub(crate) fn is_fresh(state: &FlowState, protocol_number: u8, now: u64) -> bool {
    let closed = state.closing != 0;
    let idle = match protocol_number {
        protocol::TCP if closed => TCP_CLOSED_IDLE,
        protocol::TCP if state.opened_by == OpenedBy::AGENT => return true,
        protocol::TCP => TCP_IDLE,
        protocol::UDP => UDP_IDLE,
        _ => ICMP_IDLE,
    };
    now.saturating_sub(state.seen_ns) < idle
}

/// A packet was seen; `ends` where it says that no more comes.
#[inline(always)]
pub(crate) fn touch(state: &mut FlowState, ends: bool, now: u64) {
    // Written at most once a second, lest every packet dirty a shared line.
    if now.saturating_sub(state.seen_ns) > SECOND {
        state.seen_ns = now;
    }
    if ends {
        state.closing = 1;
    }
}

/// What is remembered of a flow.
#[inline(always)]
pub(crate) fn get<'a>(key: &FlowKey) -> Option<&'a mut FlowState> {
    // SAFETY: entries are written by these programs alone, each field by a single store; a stale
    // read of one costs a judgement by the rules.
    FLOWS.get_ptr_mut(key).and_then(|state| unsafe { state.as_mut() })
}

/// Remembers a flow.
#[inline(always)]
pub(crate) fn begin(key: &FlowKey, opened_by: u32, generation: u64, now: u64) {
    let state = FlowState { opened_by, closing: 0, generation, seen_ns: now };
    // Least recently used entries make room; a failure costs a judgement for each packet.
    let _ = FLOWS.insert(key, state, 0);
}

/// True when a datagram to `flow` answers one that came in. A socket without a port answers no peer,
/// also when a datagram came to port 0.
#[inline(always)]
pub(crate) fn answers(flow: &Flow, own_port: u16) -> bool {
    if own_port == 0 {
        return false;
    }
    let key = FlowKey {
        netns: flow.netns,
        peer: flow.dst,
        peer_port: flow.dst_port,
        pod_port: own_port,
        protocol: u32::from(flow.protocol),
        pad: 0,
    };
    get(&key)
        .is_some_and(|s| OpenedBy::is_far_end(s.opened_by) && is_fresh(s, flow.protocol, now()))
}

/// Enters the flow of a connection whose first packet is about to leave its socket.
#[inline(always)]
pub(crate) fn open(key: &FlowKey, opened_by: u32) {
    begin(key, opened_by, 0, now());
}

/// Marks such a flow as over, unless another has taken its place.
#[inline(always)]
pub(crate) fn close(key: &FlowKey, opened_by: u32) {
    if let Some(state) = get(key)
        && state.opened_by == opened_by
    {
        state.closing = 1;
        state.seen_ns = now();
    }
}

/// Who opened a TCP connection that is not known to be over.
#[inline(always)]
pub(crate) fn opened_by(key: &FlowKey) -> Option<u32> {
    let state = get(key)?;
    (state.closing == 0).then_some(state.opened_by)
}
