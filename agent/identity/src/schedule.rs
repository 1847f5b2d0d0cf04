//! When a certificate is asked for, renewed and dropped. Pure: it is told what time it is, and says
//! what is to be done.
//!
//! ```text
//! a pod appears ─► queued ─► running ─► held ─► (at half its life) queued ─► …
//!                    ▲          │ failed
//!                    └ backoff ─┘               the last pod left: dropped after a minute
//! ```

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

mod entry;

use entry::{Entry, Turn};
pub use entry::{Held, Priority};

use crate::spiffe::SpiffeId;

/// How many certificates are asked for at once.
const MOST_RUNNING: usize = 8;
/// How long a certificate is kept after the last pod of its identity left.
const KEPT: Duration = Duration::from_mins(1);
/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(150);
/// How long before a certificate ends it is tried once more, whatever the pause.
const LAST_TRY: SignedDuration = SignedDuration::from_secs(60);
/// Over how long overdue renewals are spread after a start.
const SPREAD: SignedDuration = SignedDuration::from_mins(10);
/// At which part of its life a certificate is renewed, and how far from it an identity's turn is.
const RENEWED_AT: f64 = 0.5;
const JITTER: f64 = 0.1;

/// A moment on both clocks: the one that only goes forward, for pauses, and the one that certificates
/// are dated by.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since some moment before the schedule was made.
    pub tick: Duration,
    /// The time of day.
    pub wall: Timestamp,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for a certificate, and say with the ticket what became of it.
    Fetch(SpiffeId, Ticket),
    /// Forget what is held.
    Drop(SpiffeId),
}

/// Which request an outcome belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// What a connection finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A certificate that is valid.
    Held,
    /// One that has ended.
    Expired,
    /// None yet.
    Pending,
    /// No pod of it is on this node.
    Unknown,
}

/// What is told of one identity.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// What is held.
    pub held: Option<Held>,
    /// When it is asked for next, where that is not now.
    pub next: Option<Timestamp>,
    /// Why it was refused the last time, since the last success.
    pub last_error: Option<String>,
    /// How often in a row.
    pub failures: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Schedule {
    entries: BTreeMap<SpiffeId, Entry>,
    running: BTreeSet<u64>,
    tickets: u64,
    random: fastrand::Rng,
}

impl Schedule {
    /// An empty one. The seed decides how renewals are spread.
    pub fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { entries: BTreeMap::new(), running: BTreeSet::new(), tickets: 0, random }
    }

    /// Takes what an earlier agent held. What is overdue is renewed within ten minutes, so that many
    /// agents that start at once do not ask at once.
    pub fn restore(&mut self, id: SpiffeId, not_after: Timestamp, received: Timestamp, now: Now) {
        let mut held = self.held(not_after, received);
        if held.renew <= now.wall {
            let pause = SPREAD.as_secs_f64() * self.random.f64();
            held.renew = later(now.wall, pause).min(last_try(not_after)).max(now.wall);
        }
        self.entries.insert(id, Entry::of(held));
    }

    /// Says which identities have a pod on this node.
    pub fn want(&mut self, ids: &BTreeSet<SpiffeId>, now: Now) {
        for (id, entry) in &mut self.entries {
            match (ids.contains(id), entry.left) {
                (true, _) => entry.left = None,
                (false, None) => entry.left = Some(now.tick),
                (false, Some(_)) => {}
            }
        }
        for id in ids {
            if !self.entries.contains_key(id) {
                let mut entry = Entry::default();
                entry.queue(Priority::Warmup, now.tick, self.next_ticket());
                self.entries.insert(id.clone(), entry);
            }
        }
    }

    /// What a connection finds that needs a certificate. Where it is none that is valid, the request
    /// for it goes before all others.
    pub fn find(&mut self, id: &SpiffeId, now: Now) -> Found {
        let order = self.next_ticket();
        let Some(entry) = self.entries.get_mut(id) else { return Found::Unknown };
        let is_valid = |held: &Held| now.wall < held.not_after;
        if entry.held.as_ref().is_some_and(is_valid) {
            return Found::Held;
        }
        match &mut entry.turn {
            Turn::Idle => entry.queue(Priority::RealTime, now.tick, order),
            Turn::Queued { priority, .. } | Turn::Running { priority, .. } => {
                *priority = Priority::RealTime;
            }
        }
        if entry.held.is_some() { Found::Expired } else { Found::Pending }
    }

    /// What is to be done now.
    pub fn due(&mut self, now: Now) -> Vec<Action> {
        let is_over = |entry: &Entry| entry.left.is_some_and(|left| left + KEPT <= now.tick);
        let over: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| is_over(entry))
            .map(|(id, _)| id)
            .cloned()
            .collect();
        for id in &over {
            self.entries.remove(id);
        }
        let mut actions: Vec<_> = over.into_iter().map(Action::Drop).collect();
        self.queue_renewals(now);
        let mut waiting: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(id, entry)| {
                let (priority, due, order) = entry.queued()?;
                (due <= now.tick).then(|| (Reverse(priority), order, id.clone()))
            })
            .collect();
        waiting.sort_unstable();
        let free = MOST_RUNNING.saturating_sub(self.running.len());
        for (Reverse(priority), _, id) in waiting.into_iter().take(free) {
            let ticket = self.next_ticket();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.turn = Turn::Running { ticket, priority };
                self.running.insert(ticket);
                actions.push(Action::Fetch(id, Ticket(ticket)));
            }
        }
        actions
    }

    fn queue_renewals(&mut self, now: Now) {
        let is_due = |entry: &Entry| {
            matches!(entry.turn, Turn::Idle)
                && entry.held.as_ref().is_some_and(|held| held.renew <= now.wall)
        };
        let due: Vec<_> =
            self.entries.iter().filter(|(_, it)| is_due(it)).map(|(id, _)| id).cloned().collect();
        for id in due {
            let order = self.next_ticket();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.queue(Priority::Background, now.tick, order);
            }
        }
    }

    /// Renews what is held, though it is not old.
    pub fn renew(&mut self, id: &SpiffeId, now: Now) {
        let entry = self.entries.get_mut(id);
        if let Some(held) = entry.and_then(|entry| entry.held.as_mut()) {
            held.renew = now.wall;
        }
    }

    /// Takes a certificate that lives until a moment. False if no one wants it any more.
    pub fn fetched(
        &mut self,
        id: &SpiffeId,
        ticket: Ticket,
        not_after: Timestamp,
        now: Now,
    ) -> bool {
        self.running.remove(&ticket.0);
        let held = self.held(not_after, now.wall);
        match self.entries.get_mut(id).filter(|entry| entry.has(ticket.0)) {
            Some(entry) => {
                *entry = Entry { left: entry.left, ..Entry::of(held) };
                true
            }
            None => false,
        }
    }

    /// Takes that there is none, and why.
    pub fn failed(&mut self, id: &SpiffeId, ticket: Ticket, why: String, now: Now) {
        self.running.remove(&ticket.0);
        let (order, spread) = (self.next_ticket(), 0.8 + 0.4 * self.random.f64());
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.has(ticket.0)) else {
            return;
        };
        let doubled = FIRST_PAUSE.saturating_mul(1 << entry.failures.min(16)).min(LONGEST_PAUSE);
        let mut pause = doubled.mul_f64(spread).min(LONGEST_PAUSE);
        if let Some(held) = &entry.held {
            let left = last_try(held.not_after).duration_since(now.wall);
            if let Ok(left) = Duration::try_from(left)
                && !left.is_zero()
            {
                pause = pause.min(left);
            }
        }
        entry.failures += 1;
        entry.last_error = Some(why);
        let priority = entry.priority();
        entry.queue(priority, now.tick + pause, order);
    }

    /// How long there is nothing to do, if nothing else happens.
    pub fn idle(&self, now: Now) -> Option<Duration> {
        let is_full = self.running.len() >= MOST_RUNNING;
        let of = |entry: &Entry| {
            let drop = entry.left.map(|left| (left + KEPT).saturating_sub(now.tick));
            let turn = match (&entry.turn, &entry.held) {
                (Turn::Queued { due, .. }, _) => (!is_full).then(|| due.saturating_sub(now.tick)),
                (Turn::Idle, Some(held)) => Some(
                    Duration::try_from(held.renew.duration_since(now.wall)).unwrap_or_default(),
                ),
                (Turn::Idle, None) | (Turn::Running { .. }, _) => None,
            };
            drop.into_iter().chain(turn).min()
        };
        self.entries.values().filter_map(of).min()
    }

    /// What is told of each identity.
    pub fn views(&self, now: Now) -> impl Iterator<Item = (&SpiffeId, View)> {
        self.entries.iter().map(move |(id, entry)| {
            let next = match &entry.turn {
                Turn::Queued { due, .. } if *due > now.tick => {
                    Some(later(now.wall, due.saturating_sub(now.tick).as_secs_f64()))
                }
                Turn::Idle => entry.held.as_ref().map(|held| held.renew),
                Turn::Queued { .. } | Turn::Running { .. } => None,
            };
            let Entry { held, last_error, failures, .. } = entry;
            let (held, last_error) = (held.clone(), last_error.clone());
            (id, View { held, next, last_error, failures: *failures })
        })
    }

    fn held(&mut self, not_after: Timestamp, received: Timestamp) -> Held {
        let life = not_after.duration_since(received).as_secs_f64().max(0.0);
        let share = RENEWED_AT + JITTER * (2.0 * self.random.f64() - 1.0);
        Held { received, not_after, renew: later(received, life * share) }
    }

    fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

fn later(at: Timestamp, seconds: f64) -> Timestamp {
    let pause = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX);
    at.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

fn last_try(not_after: Timestamp) -> Timestamp {
    not_after.saturating_sub(LAST_TRY).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
