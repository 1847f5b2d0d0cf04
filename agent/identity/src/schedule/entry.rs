//! One identity in the schedule.

use std::time::Duration;

use jiff::Timestamp;

/// Whose request goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A certificate is to be renewed.
    Background,
    /// A pod has appeared.
    Warmup,
    /// A connection waits.
    RealTime,
}

/// A certificate that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Since when.
    pub received: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// When it is renewed.
    pub renew: Timestamp,
}

impl Held {
    /// Which part of its life has gone, from 0 to 1 and beyond.
    pub fn age(&self, now: Timestamp) -> f64 {
        let life = self.not_after.duration_since(self.received).as_secs_f64();
        let gone = now.duration_since(self.received).as_secs_f64();
        if life > 0.0 { (gone / life).max(0.0) } else { 1.0 }
    }
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Since when no pod of it is here.
    pub(super) left: Option<Duration>,
    pub(super) held: Option<Held>,
    pub(super) turn: Turn,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
}

#[derive(Debug, Default)]
pub(super) enum Turn {
    #[default]
    Idle,
    Queued {
        priority: Priority,
        /// Not before.
        due: Duration,
        /// First come, first served within a priority.
        order: u64,
    },
    Running {
        ticket: u64,
        priority: Priority,
    },
}

impl Entry {
    pub(super) fn of(held: Held) -> Self {
        Self { held: Some(held), ..Self::default() }
    }

    pub(super) fn queue(&mut self, priority: Priority, due: Duration, order: u64) {
        self.turn = Turn::Queued { priority, due, order };
    }

    pub(super) fn queued(&self) -> Option<(Priority, Duration, u64)> {
        match self.turn {
            Turn::Queued { priority, due, order } => Some((priority, due, order)),
            Turn::Idle | Turn::Running { .. } => None,
        }
    }

    /// Whether it waits for the outcome of this request.
    pub(super) fn has(&self, ticket: u64) -> bool {
        matches!(self.turn, Turn::Running { ticket: own, .. } if own == ticket)
    }

    pub(super) fn priority(&self) -> Priority {
        match self.turn {
            Turn::Queued { priority, .. } | Turn::Running { priority, .. } => priority,
            Turn::Idle => Priority::Background,
        }
    }
}
