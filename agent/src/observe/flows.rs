//! What was judged lately: a bounded ring of recent flows and a broadcast for those who follow.
//!
//! One writer (the reader of the kernel's events and the proxy's records call [`FlowLog::record`]),
//! any number of readers. A reader that is too slow loses the oldest flows and is told how many;
//! it never slows the writer.

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_abi::{
    Addr, Event, EventKind, FAMILY_V4, LAYER_CONNECT, LAYER_PACKET, Reason, Verdict, protocol,
};
use agent_base::lock::lock;
use agent_pods::connections::Reset;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use super::status::Word;

/// Flows kept for `sekisho flows`. About 300 bytes each, so a little over a megabyte.
pub(crate) const RING: usize = 4_096;
/// Flows that a follower may lag behind before it loses some.
pub(crate) const BACKLOG: usize = 4_096;

/// How long a question waits for the reader of the kernel's events.
const PATIENCE: Duration = Duration::from_millis(200);

/// One verdict, or the end of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowRecord {
    /// When.
    pub(crate) time: Timestamp,
    /// `verdict` or `close`.
    pub(crate) event: Word,
    /// The pod, as `namespace/name`; none where the namespace is not a known pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Arc<str>>,
    /// The cookie of the network namespace.
    pub(crate) netns: u64,
    /// The destination.
    pub(crate) dst: IpAddr,
    /// Its port; 0 where the protocol has none.
    pub(crate) port: u16,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the number.
    pub(crate) protocol: Word,
    /// `connect`, `packet`, `wire`, or `proxy`.
    pub(crate) layer: Word,
    /// [`Verdict::name`].
    pub(crate) verdict: Word,
    /// [`Reason::name`], or the proxy's.
    pub(crate) reason: Word,
    /// The generation that judged.
    pub(crate) generation: u64,
    /// The object and field that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Arc<str>>,
    /// The process that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// For a close: what it carried.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub(crate) carried: Option<Carried>,
}

/// What a connection carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Bytes from the pod that the far end acknowledged.
    pub(crate) bytes_sent: u64,
    /// Bytes to the pod.
    pub(crate) bytes_received: u64,
    /// How long it was open, in microseconds.
    pub(crate) duration_us: u64,
    /// The smoothed round-trip time in microseconds; 0 where nobody measured it.
    pub(crate) rtt_us: u32,
}

/// What the agent knows of an event that the kernel does not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The pod's `namespace/name`.
    pub(crate) pod: Option<Arc<str>>,
    /// The source of the rule that decided.
    pub(crate) rule: Option<Arc<str>>,
}

impl FlowRecord {
    /// An event of the kernel as a record. `None` when a word of it is not of this ABI.
    pub(crate) fn from_event(event: &Event, time: Timestamp, names: Names) -> Option<Self> {
        let close = event.kind == EventKind::CLOSE;
        let verdict = Verdict::from_word(event.verdict)?;
        let reason = Reason::from_word(event.reason)?;
        Some(Self {
            time,
            event: if close { "close" } else { "verdict" }.into(),
            pod: names.pod,
            netns: event.netns,
            dst: ip(event.dst),
            port: event.dst_port,
            protocol: protocol_name(event.protocol),
            layer: layer_name(event.layer).into(),
            verdict: verdict.name().into(),
            reason: reason.name().into(),
            generation: event.generation,
            rule: names.rule,
            pid: (event.pid != 0).then_some(event.pid),
            carried: close.then_some(Carried {
                bytes_sent: event.bytes_sent,
                bytes_received: event.bytes_received,
                duration_us: event.duration_ns / 1_000,
                rtt_us: event.rtt_us,
            }),
        })
    }

    /// A connection that was reset by a change of rules.
    pub(crate) fn of_reset(reset: &Reset) -> Self {
        let Reset { pod, netns, revoked } = reset;
        Self {
            time: Timestamp::now(),
            event: "verdict".into(),
            pod: Some(pod.to_string().into()),
            netns: *netns,
            dst: ip(revoked.dst.0),
            port: revoked.dst.1,
            protocol: protocol_name(revoked.socket.protocol.into()),
            layer: "connect".into(),
            verdict: revoked.judgement.verdict.name().into(),
            reason: Reason::Revoked.name().into(),
            generation: revoked.judgement.generation,
            rule: None,
            pid: None,
            carried: None,
        }
    }

    /// True for what was refused or held, and for what an audit would refuse.
    pub(crate) fn is_denied(&self) -> bool {
        self.verdict == Verdict::Deny.name()
            || self.verdict == Verdict::Hold.name()
            || self.reason == Reason::WouldDeny.name()
    }
}

/// The address of the ABI as the standard library's.
pub(crate) fn ip(addr: Addr) -> IpAddr {
    if addr.family == FAMILY_V4 {
        return Ipv4Addr::from(u32::from_be(addr.words_be[0])).into();
    }
    let words = addr.words_be.map(u32::from_be);
    Ipv6Addr::from(words.iter().fold(0_u128, |bits, word| (bits << 32) | u128::from(*word))).into()
}

/// The name of a protocol number.
pub(crate) fn protocol_name(number: u32) -> Word {
    const NAMED: [(u8, &str); 4] = [
        (protocol::TCP, "tcp"),
        (protocol::UDP, "udp"),
        (protocol::ICMP, "icmp"),
        (protocol::ICMPV6, "icmpv6"),
    ];
    NAMED
        .iter()
        .find(|(known, _)| u32::from(*known) == number)
        .map_or_else(|| number.to_string().into(), |(_, name)| (*name).into())
}

const fn layer_name(layer: u32) -> &'static str {
    match layer {
        LAYER_CONNECT => "connect",
        LAYER_PACKET => "packet",
        _ => "wire",
    }
}

/// Is told of each flow at once, in the thread that records it.
pub(crate) trait Subscriber: fmt::Debug + Send + Sync {
    /// A flow.
    fn hear(&self, record: &FlowRecord);
}

/// Recent flows, and those to come.
#[derive(Debug)]
pub(crate) struct FlowLog {
    ring: Mutex<VecDeque<Arc<FlowRecord>>>,
    subscribers: Vec<Box<dyn Subscriber>>,
    sender: broadcast::Sender<Arc<FlowRecord>>,
    /// Somebody wants what the kernel has not handed over yet.
    asked: Notify,
    /// It has been handed over.
    handed: Notify,
}

impl Default for FlowLog {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl FlowLog {
    /// Without any flow yet.
    pub(crate) fn new(subscribers: Vec<Box<dyn Subscriber>>) -> Self {
        Self {
            ring: Mutex::new(VecDeque::with_capacity(RING)),
            subscribers,
            sender: broadcast::channel(BACKLOG).0,
            asked: Notify::new(),
            handed: Notify::new(),
        }
    }

    /// Waits until the flows that the kernel knows of by now are recorded, or for as long as the
    /// reader of its events may take to look by itself.
    pub(crate) async fn catch_up(&self) {
        let handed = self.handed.notified();
        self.asked.notify_one();
        // Without a reader there is nothing to wait for.
        let _ = tokio::time::timeout(PATIENCE, handed).await;
    }

    /// For the reader: waits until somebody wants what it has not read yet.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// For the reader: everything is recorded.
    pub(crate) fn caught_up(&self) {
        self.handed.notify_waiters();
    }

    /// Keeps a record, and hands it to the followers and subscribers.
    pub(crate) fn record(&self, record: FlowRecord) {
        let record = Arc::new(record);
        {
            let mut ring = lock(&self.ring);
            if ring.len() == RING {
                ring.pop_front();
            }
            ring.push_back(Arc::clone(&record));
            // A send fails only when nobody follows. It happens under the lock so that a new
            // follower gets each flow once: from the ring or from the channel.
            let _ = self.sender.send(Arc::clone(&record));
        }
        self.subscribers.iter().for_each(|subscriber| subscriber.hear(&record));
    }

    /// The flows kept, oldest first, and the channel of those that follow without a gap.
    pub(crate) fn follow(&self) -> (Vec<Arc<FlowRecord>>, broadcast::Receiver<Arc<FlowRecord>>) {
        let ring = lock(&self.ring);
        (ring.iter().cloned().collect(), self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::test_record;
