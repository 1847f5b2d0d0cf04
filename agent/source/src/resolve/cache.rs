//! When to ask for a name, and what an answer means. No I/O: it is told the time.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use agent_model::names::{Answer, Answers, MAX_ADDRESSES, Trouble, Wanted};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    clock::Clock,
    saved::{Line, Until},
};

/// As many former addresses of a name as are remembered; the oldest are forgotten first, and an
/// open connection to one of those is reset at the next change of its pod's rules.
const MOST_FORMER: usize = 1_024;
/// After the first failure; it doubles with each other one.
const RETRY: Duration = Duration::from_secs(1);

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// A shorter TTL counts as this.
    pub least: Duration,
    /// How long an address is allowed after its TTL.
    pub grace: Duration,
}

/// What was heard about one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Addresses, and for how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// That there is none.
    Nothing,
    /// No answer that says anything.
    Failed(String),
}

/// What was heard about both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub v4: Heard,
    pub v6: Heard,
}

/// A name that rules follow from, for people.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The name.
    pub name: String,
    /// What is allowed of it.
    pub addresses: Vec<ResolvedAddress>,
    /// When an answer with an address came last.
    pub answered: Option<Timestamp>,
    /// When it is asked for next; none while it is being asked for.
    pub next: Option<Timestamp>,
    /// What was wrong with the last answer.
    pub error: Option<String>,
}

/// An address of a name.
#[derive(Clone, Debug)]
pub struct ResolvedAddress {
    /// The address.
    pub address: IpAddr,
    /// When new connections may no longer go there, where the newest answer lacks it.
    pub until: Option<Timestamp>,
}

/// All wanted names.
#[derive(Debug)]
pub(crate) struct Cache {
    rates: Rates,
    refresh: Duration,
    entries: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    v4: Family,
    v6: Family,
    lingering: Vec<(IpAddr, Instant)>,
    /// The oldest first.
    former: VecDeque<IpAddr>,
    /// When to ask; nothing while it is being asked.
    next: Option<Instant>,
    failures: u32,
    /// When an answer with an address came last.
    answered: Option<Timestamp>,
    error: Option<String>,
    too_many: Option<usize>,
    /// What is published of all this; nothing before the first question has been answered.
    answer: Option<Arc<Answer>>,
}

#[derive(Debug)]
struct Family {
    addresses: Vec<IpAddr>,
    expires: Instant,
}

impl Cache {
    /// An empty one.
    pub(crate) fn new(rates: Rates) -> Self {
        let refresh = Wanted::default().refresh;
        Self { rates, refresh, entries: BTreeMap::new() }
    }

    /// Takes over what is wanted now. True when answers have gone.
    pub(crate) fn want(&mut self, wanted: &Wanted, now: Instant) -> bool {
        let before = self.entries.len();
        self.entries.retain(|name, _| wanted.names.contains(name));
        let gone = self.entries.len() != before;
        self.refresh = wanted.refresh.max(self.rates.least);
        for name in &wanted.names {
            let entry = self.entries.entry(Arc::clone(name)).or_insert_with(|| Entry::new(now));
            entry.next = entry.next.map(|next| next.min(now + self.refresh));
        }
        gone
    }

    /// Names whose time has come, up to so many; they count as being asked from here on.
    pub(crate) fn due(&mut self, now: Instant, room: usize) -> Vec<Arc<str>> {
        let due = self.entries.iter_mut();
        let due = due.filter(|(_, entry)| entry.next.is_some_and(|next| next <= now)).take(room);
        due.map(|(name, entry)| {
            entry.next = None;
            Arc::clone(name)
        })
        .collect()
    }

    /// When something happens by itself; without room no question starts.
    pub(crate) fn next_event(&self, room: bool) -> Option<Instant> {
        let events = self.entries.values().flat_map(|entry| {
            let question = entry.next.filter(|_| room).into_iter();
            question.chain(entry.lingering.iter().map(|(_, until)| *until))
        });
        events.min()
    }

    /// Takes in a reply. True when what is published changes.
    pub(crate) fn hear(&mut self, name: &str, reply: Reply, now: Instant) -> bool {
        let (rates, refresh) = (self.rates, self.refresh);
        // It may not be wanted any more.
        let Some(entry) = self.entries.get_mut(name) else { return false };
        let wait = match entry.take(reply, now, rates.grace) {
            Some(ttl) if entry.failures == 0 => ttl.max(rates.least),
            _ => backoff(entry.failures),
        };
        entry.next = Some(now + wait.min(refresh));
        entry.settle(now)
    }

    /// Takes in that time has passed. True when what is published changes.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let entries = self.entries.values_mut();
        entries.fold(false, |changed, entry| {
            let passed = entry.lingering.iter().any(|(_, until)| *until <= now);
            (passed && entry.settle(now)) || changed
        })
    }

    /// What is known.
    pub(crate) fn answers(&self) -> Answers {
        let known = |(name, entry): (&Arc<str>, &Entry)| {
            Some((Arc::clone(name), Arc::clone(entry.answer.as_ref()?)))
        };
        self.entries.iter().filter_map(known).collect()
    }

    /// What a person wants to see.
    pub(crate) fn view(&self, now: Instant) -> Vec<Resolved> {
        let clock = Clock { now, wall: Timestamp::now() };
        self.entries.iter().map(|(name, entry)| entry.view(name, clock)).collect()
    }

    /// What a successor needs.
    pub(crate) fn saved(&self, now: Instant) -> Vec<Line> {
        let clock = Clock { now, wall: Timestamp::now() };
        let known = self.entries.iter().filter(|(_, entry)| entry.answered.is_some());
        known.map(|(name, entry)| entry.line(name, clock)).collect()
    }

    /// Takes over what a predecessor knew. All of it is asked for at once.
    pub(crate) fn restore(&mut self, saved: Vec<Line>, now: Instant) {
        let clock = Clock { now, wall: Timestamp::now() };
        for line in saved {
            let (name, mut entry) = Entry::restored(line, clock);
            entry.settle(now);
            self.entries.insert(name, entry);
        }
    }
}

fn backoff(failures: u32) -> Duration {
    RETRY * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))
}

impl Entry {
    fn new(now: Instant) -> Self {
        let family = || Family { addresses: Vec::new(), expires: now };
        Self {
            v4: family(),
            v6: family(),
            lingering: Vec::new(),
            former: VecDeque::new(),
            next: Some(now),
            failures: 0,
            answered: None,
            error: None,
            too_many: None,
            answer: None,
        }
    }

    /// Takes in what was heard; returns how long it holds, if anything was.
    ///
    /// A reply without an address changes nothing, whatever the reason: a name that is gone and a
    /// name server that is broken look alike, and being reachable is the lesser evil of an address
    /// that was allowed a moment ago.
    fn take(&mut self, reply: Reply, now: Instant, grace: Duration) -> Option<Duration> {
        let Reply { v4, v6 } = reply;
        self.error = trouble(&v4, &v6);
        let found = [&v4, &v6].map(|heard| match heard {
            Heard::Addresses(addresses, _) => addresses.len(),
            Heard::Nothing | Heard::Failed(_) => 0,
        });
        let found: usize = found.iter().sum();
        if found == 0 || found > MAX_ADDRESSES {
            self.failures = self.failures.saturating_add(1);
            self.too_many = (found > 0).then_some(found);
            return None;
        }
        self.too_many = None;
        self.answered = Some(Timestamp::now());
        self.failures = if self.error.is_some() { self.failures.saturating_add(1) } else { 0 };
        let ttls = [(&mut self.v4, v4), (&mut self.v6, v6)].map(|(family, heard)| {
            let (gone, ttl) = family.take(heard, now);
            self.lingering.extend(gone.into_iter().map(|(one, until)| (one, until + grace)));
            ttl
        });
        ttls.into_iter().flatten().min()
    }

    /// Puts each address where it belongs. True when what is published changes.
    fn settle(&mut self, now: Instant) -> bool {
        let current: Vec<IpAddr> =
            self.v4.addresses.iter().chain(&self.v6.addresses).copied().collect();
        self.lingering.retain(|(address, _)| !current.contains(address));
        // The one that lingers longest counts.
        self.lingering.sort_by(|one, other| (one.0, other.1).cmp(&(other.0, one.1)));
        self.lingering.dedup_by_key(|(address, _)| *address);
        let room = MAX_ADDRESSES.saturating_sub(current.len());
        self.lingering.sort_by_key(|(_, until)| std::cmp::Reverse(*until));
        let crowded_out = self.lingering.split_off(self.lingering.len().min(room));
        let passed = self.lingering.extract_if(.., |(_, until)| *until <= now);
        let passed: Vec<_> = passed.chain(crowded_out).map(|(address, _)| address).collect();
        self.lingering.sort_unstable_by_key(|(address, _)| *address);
        self.former.extend(passed);
        let allowed = |address: &IpAddr| {
            current.contains(address) || self.lingering.iter().any(|(one, _)| one == address)
        };
        let mut seen = std::collections::HashSet::new();
        self.former.retain(|address| !allowed(address) && seen.insert(*address));
        let excess = self.former.len().saturating_sub(MOST_FORMER);
        self.former.drain(..excess);
        let unresolved = current.is_empty().then_some(Trouble::Unresolved);
        let answer = Answer {
            trouble: self.too_many.map(|found| Trouble::TooMany { found }).or(unresolved),
            current,
            lingering: self.lingering.iter().map(|(address, _)| *address).collect(),
            former: self.former.iter().copied().collect(),
        };
        let changed = self.answer.as_deref() != Some(&answer);
        if changed {
            self.answer = Some(Arc::new(answer));
        }
        changed
    }

    fn view(&self, name: &str, clock: Clock) -> Resolved {
        let current = self.v4.addresses.iter().chain(&self.v6.addresses);
        let current = current.map(|address| ResolvedAddress { address: *address, until: None });
        let lingering = self.lingering.iter().map(|(address, until)| ResolvedAddress {
            address: *address,
            until: Some(clock.wall_at(*until)),
        });
        Resolved {
            name: name.to_owned(),
            addresses: current.chain(lingering).collect(),
            answered: self.answered,
            next: self.next.map(|next| clock.wall_at(next)),
            error: self.error.clone(),
        }
    }

    fn line(&self, name: &Arc<str>, clock: Clock) -> Line {
        let until = |address: &IpAddr, at| Until { address: *address, at: clock.wall_at(at) };
        let families = [&self.v4, &self.v6];
        let current = families
            .into_iter()
            .flat_map(|family| family.addresses.iter().map(|one| until(one, family.expires)));
        Line {
            name: Arc::clone(name),
            answered: self.answered,
            current: current.collect(),
            lingering: self.lingering.iter().map(|(one, at)| until(one, *at)).collect(),
            former: self.former.iter().copied().collect(),
        }
    }

    fn restored(line: Line, clock: Clock) -> (Arc<str>, Self) {
        let Line { name, answered, current, lingering, former } = line;
        let mut entry = Self::new(clock.now);
        for Until { address, at } in current {
            let family = if address.is_ipv4() { &mut entry.v4 } else { &mut entry.v6 };
            family.addresses.push(address);
            family.expires = clock.at(at);
        }
        let lingering = lingering.into_iter();
        entry.lingering = lingering.map(|Until { address, at }| (address, clock.at(at))).collect();
        entry.former = former.into();
        entry.answered = answered;
        (name, entry)
    }
}

impl Family {
    /// Takes in what was heard of it; returns what it has lost with the end of its TTL, and how long
    /// the answer holds. What stays keeps its place, so that a name server that shuffles its answers
    /// changes nothing.
    fn take(&mut self, heard: Heard, now: Instant) -> (Vec<(IpAddr, Instant)>, Option<Duration>) {
        let (new, ttl) = match heard {
            Heard::Addresses(addresses, ttl) => (addresses, Some(ttl)),
            Heard::Nothing => (Vec::new(), None),
            Heard::Failed(_) => return (Vec::new(), None),
        };
        let expired = self.expires.max(now);
        let gone = self.addresses.extract_if(.., |one| !new.contains(one));
        let gone = gone.map(|one| (one, expired)).collect();
        for address in new {
            if !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
        self.expires = now + ttl.unwrap_or_default();
        (gone, ttl)
    }
}

/// What is wrong with a reply, in words.
fn trouble(v4: &Heard, v6: &Heard) -> Option<String> {
    match (v4, v6) {
        (Heard::Failed(one), Heard::Failed(other)) if one == other => Some(one.clone()),
        (Heard::Failed(one), Heard::Failed(other)) => Some(format!("A: {one}; AAAA: {other}")),
        (Heard::Failed(one), _) => Some(format!("A: {one}")),
        (_, Heard::Failed(other)) => Some(format!("AAAA: {other}")),
        (Heard::Nothing, Heard::Nothing) => Some("the name has no address".to_owned()),
        (Heard::Addresses(one, _), Heard::Addresses(other, _))
            if one.len() + other.len() > MAX_ADDRESSES =>
        {
            Some(too_many(one.len() + other.len()))
        }
        (Heard::Addresses(one, _), Heard::Nothing) | (Heard::Nothing, Heard::Addresses(one, _))
            if one.len() > MAX_ADDRESSES =>
        {
            Some(too_many(one.len()))
        }
        _ => None,
    }
}

fn too_many(found: usize) -> String {
    format!("{found} addresses, and up to {MAX_ADDRESSES} are taken")
}
