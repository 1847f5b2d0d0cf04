//! Reads the kernel's events and hands them on with names. The kernel never waits for this: what
//! does not fit in the ring is lost and counted.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use agent_abi::{Event, EventKind, Verdict, protocol};
use agent_kernel::{event_ring::EventRing, rule_names::RuleNames};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    members::Members,
    observe::{
        flow_record::{FlowRecord, Known, ip},
        flows::FlowLog,
    },
};

/// Where events go, and what gives them names.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) flows: Arc<FlowLog>,
    pub(crate) members: Arc<ArcSwap<Members>>,
    pub(crate) rules: RuleNames,
}

/// Direct connections that are open, as their verdicts said: what the event of their end lacks.
/// Two halves, the older of which goes when the newer is full, so that ends that were lost cost no
/// memory for good.
#[derive(Debug, Default)]
struct Open {
    newer: HashMap<u64, Event>,
    older: HashMap<u64, Event>,
}

/// Connections in each half of [`Open`]: 14 MB at the most.
const HALF: usize = 65_536;

impl Open {
    fn note(&mut self, event: &Event) {
        if self.newer.len() == HALF {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(event.socket, *event);
    }

    /// Completes the event of an end.
    fn complete(&mut self, end: &mut Event) {
        let verdict = self.newer.remove(&end.socket).or_else(|| self.older.remove(&end.socket));
        if let Some(verdict) = verdict {
            end.duration_ns = end.time_ns.saturating_sub(verdict.time_ns);
            end.generation = verdict.generation;
            end.reason = verdict.reason;
            end.rule = verdict.rule;
        }
    }
}

impl Sink {
    fn take(&self, open: &mut Open, mut event: Event, booted: Timestamp) {
        let is_direct = event.verdict == Verdict::Direct as u32;
        if event.kind == EventKind::CLOSE {
            open.complete(&mut event);
        } else if is_direct && event.protocol == u32::from(protocol::TCP) && event.socket != 0 {
            open.note(&event);
        }
        let event = &event;
        let time = booted + Duration::from_nanos(event.time_ns);
        if let Some(record) = FlowRecord::from_event(event, time, self.known(event)) {
            self.flows.record(record);
        } else {
            tracing::warn!(record = ?event, "the kernel sent an event of another ABI");
        }
    }

    /// What the kernel does not know of an event.
    fn known(&self, event: &Event) -> Known {
        let members = self.members.load();
        let pod = members.pods.in_netns(event.netns);
        Known {
            pod: pod.map(|pod| pod.id.clone()),
            workload: pod.map(|pod| Arc::clone(&pod.workload)),
            address: pod.and_then(|pod| pod.address_towards(ip(event.dst))),
            rule: self.rules.get(event.rule).map(|decision| decision.source),
        }
    }
}

/// How long an event that does not wake the reader may lie in the ring: only refusals do. At
/// 80,000 connections a second the ring is full after this long.
const LOOK: Duration = Duration::from_millis(100);

/// Reads events until the ring cannot be read any more.
pub(crate) async fn read(mut ring: EventRing, sink: Sink) -> io::Result<()> {
    let mut open = Open::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ready = ring.ready() => ready?,
            _ = looks.tick() => {}
            () = sink.flows.asked() => {}
        }
        let booted = boot_time();
        ring.drain(|event| sink.take(&mut open, event, booted));
        sink.flows.caught_up();
    }
}

/// When the monotonic clock was at zero; asked for again with each batch, since the wall clock is
/// set now and then.
fn boot_time() -> Timestamp {
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since_boot = Duration::new(
        monotonic.tv_sec.unsigned_abs(),
        u32::try_from(monotonic.tv_nsec).unwrap_or_default(),
    );
    Timestamp::now() - since_boot
}
