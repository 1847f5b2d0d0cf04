//! How long each phase of a change takes, from its arrival until it is in force.

use std::time::Duration;

use tokio::time::Instant;

/// A phase; they come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Until a burst of changes is over.
    Collect,
    /// Which form of each object is in force.
    Settle,
    /// Until the publisher has ended what it was doing.
    Queue,
    /// What the objects mean for this node.
    Translate,
    /// Namespaces, listeners and links of pods.
    Prepare,
    /// Rules compiled, and held against what the maps hold.
    Plan,
    /// Maps written; the generation is in force at the end of it.
    Write,
    /// Open connections that are denied now.
    Revoke,
    /// What the status says.
    Report,
    /// What the generation does not need is removed; nothing waits for it.
    Narrow,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 10] = [
        Self::Collect,
        Self::Settle,
        Self::Queue,
        Self::Translate,
        Self::Prepare,
        Self::Plan,
        Self::Write,
        Self::Revoke,
        Self::Report,
        Self::Narrow,
    ];

    /// The value of the metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Settle => "settle",
            Self::Queue => "queue",
            Self::Translate => "translate",
            Self::Prepare => "prepare",
            Self::Plan => "plan",
            Self::Write => "write",
            Self::Narrow => "narrow",
            Self::Revoke => "revoke",
            Self::Report => "report",
        }
    }
}

/// A stop watch with laps.
#[derive(Clone, Debug)]
pub struct Laps {
    last: Instant,
    ended: Vec<(Phase, Duration)>,
}

impl Default for Laps {
    fn default() -> Self {
        Self { last: Instant::now(), ended: Vec::new() }
    }
}

impl Laps {
    /// A phase that began where the one before ended, or at the start, has ended.
    pub fn end(&mut self, phase: Phase) {
        let now = Instant::now();
        self.ended.push((phase, now - self.last));
        self.last = now;
    }

    /// The phases that have ended, in their order.
    pub fn ended(&self) -> &[(Phase, Duration)] {
        &self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lap_begins_where_the_one_before_ended() {
        let mut laps = Laps::default();
        for (phase, millis) in [(Phase::Collect, 20), (Phase::Translate, 5)] {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            laps.end(phase);
        }
        let expected = [
            (Phase::Collect, Duration::from_millis(20)),
            (Phase::Translate, Duration::from_millis(5)),
        ];
        assert_eq!(laps.ended(), expected);
    }
}
