//! One destination as one workload sees it, as if the workload had a proxy of its own: connections
//! that wait, what is under way, the limits on both, and which endpoint is next. Envoy calls it a
//! cluster.
//!
//! ```text
//! located    where the endpoints are
//! choose     which endpoint is next
//! table      where a key leads: ring hash, Maglev
//! outlier    which endpoints are left out for a while
//! streams    connections of HTTP/2, which streams share
//! leases     connections: those that wait, a place for a new one, the queue for either
//! ```

mod choose;
mod leases;
mod located;
mod outlier;
mod streams;
mod table;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent_model::{
    endpoints::Endpoints,
    requests::{
        backend::Backend,
        policy::{Balance, ClientPolicy, Limits},
    },
};
use tokio::{task::JoinSet, time::Instant};

use crate::{Origin, UpstreamAddr, reach::Apart};
use choose::{Candidate, candidates};
pub(crate) use leases::{Lease, Obtained, USUAL_IDLE, Upstream};
use located::Located;
pub(crate) use outlier::Seen;
use outlier::{Health, is_panic, may_eject};
pub(crate) use streams::NoStream;
use table::Table;
pub(crate) use table::hash;

/// What is known of an endpoint that has not been used or offered for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(10);
const MILLION: u64 = 1_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What is dialled; `None` is whatever the client dialled.
    backend: Option<Arc<Backend>>,
    began: Instant,
    state: Mutex<State>,
    located: Mutex<Option<Located>>,
    /// What drives connections of HTTP/2.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct State {
    requests: u32,
    pending: u32,
    retries: u32,
    connections: u32,
    /// Endpoints that the destination had at the last choice.
    offered: usize,
    turn: Option<u64>,
    hosts: HashMap<SocketAddr, Host>,
    table: Option<Table>,
}

/// What is known of one endpoint.
#[derive(Debug)]
struct Host {
    requests: u32,
    connections: u32,
    waiting: Vec<leases::Waiting>,
    queue: VecDeque<leases::Queued>,
    streams: HashMap<Apart, streams::Shared>,
    health: Health,
    /// When it was first offered.
    since: Instant,
    /// When it was last offered or used.
    last: Instant,
}

/// A limit is reached: Envoy's flag `UO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Who is to serve a request.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Where the destination is now.
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) origin: &'a Origin,
    /// Those that are taken only where there is no other.
    pub(crate) tried: &'a [UpstreamAddr],
    /// What leads to an endpoint, where the destination asks for that.
    pub(crate) key: Option<u64>,
}

impl Host {
    fn new(now: Instant) -> Self {
        Self {
            requests: 0,
            connections: 0,
            waiting: Vec::new(),
            queue: VecDeque::new(),
            streams: HashMap::new(),
            health: Health::default(),
            since: now,
            last: now,
        }
    }

    fn is_idle(&self) -> bool {
        self.requests == 0 && self.connections == 0 && self.queue.is_empty()
    }
}

impl State {
    fn host(&mut self, at: SocketAddr) -> &mut Host {
        let now = Instant::now();
        let host = self.hosts.entry(at).or_insert_with(|| Host::new(now));
        host.last = now;
        host
    }
}

impl Cluster {
    pub(crate) fn new(backend: Option<Arc<Backend>>) -> Arc<Self> {
        Arc::new(Self {
            backend,
            began: Instant::now(),
            state: Mutex::default(),
            located: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        self.backend.as_ref()
    }

    fn policy(&self) -> Option<&ClientPolicy> {
        self.backend.as_ref().map(|backend| &backend.policy)
    }

    fn limits(&self) -> Option<&Limits> {
        self.policy().map(|policy| &policy.limits)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Whether endpoints are judged by what they did before.
    fn remembers(&self) -> bool {
        self.policy().is_some_and(|policy| policy.warmup.is_some() || policy.ejection.is_some())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoint for a request; none where there is none, or where all are left out.
    pub(crate) fn choose(&self, wanted: &Wanted<'_>) -> Option<UpstreamAddr> {
        let Wanted { endpoints, origin, tried, key } = *wanted;
        let Some(policy) = self.policy() else { return Some(UpstreamAddr(origin.dst.0)) };
        if policy.balance == Balance::Dialled {
            return Some(UpstreamAddr(origin.dst.0));
        }
        let mut state = self.lock();
        let all = state.well(candidates(endpoints, origin), policy);
        let hash = match policy.balance {
            Balance::Hash { table, .. } => key.map(|key| (table, key)),
            _ => None,
        };
        // A key leads to one endpoint, whether it was tried or not.
        if let Some((kind, key)) = hash {
            return state.table(kind, &all).lead(key).map(UpstreamAddr);
        }
        let is_fresh = |one: &Candidate| !tried.contains(&UpstreamAddr(one.at));
        let fresh: Vec<Candidate> = all.iter().copied().filter(is_fresh).collect();
        let among = if fresh.is_empty() { all } else { fresh };
        let chosen = match policy.balance {
            Balance::RoundRobin => {
                // Proxies of many pods that begin with the same endpoint would overload it.
                let turn = state.turn.get_or_insert_with(|| fastrand::u64(..u64::from(u32::MAX)));
                *turn += 1;
                choose::in_turn(&among, *turn)
            }
            Balance::LeastRequest => choose::least_request(&among),
            Balance::Random | Balance::Dialled | Balance::Hash { .. } => {
                choose::draw(&among, fastrand::u64(..)).map(|one| one.at)
            }
        };
        chosen.map(UpstreamAddr)
    }

    /// Another endpoint than those that were tried, for a connection that they do not make: one of the
    /// family that was dialled, or else of the other.
    pub(crate) fn another(&self, wanted: &Wanted<'_>) -> Option<UpstreamAddr> {
        let Wanted { endpoints, origin, tried, key } = *wanted;
        let is_fresh = |to: &UpstreamAddr| !tried.contains(to);
        if key.is_some() || self.policy()?.balance == Balance::Dialled {
            return None;
        }
        self.choose(wanted).filter(is_fresh).or_else(|| {
            let mut others = choose::of_other_family(endpoints, origin);
            others.retain(|one| is_fresh(&UpstreamAddr(one.at)));
            choose::draw(&others, fastrand::u64(..)).map(|one| UpstreamAddr(one.at))
        })
    }

    /// Takes note of what came of a request.
    pub(crate) fn report(&self, at: UpstreamAddr, seen: Seen) {
        let Some(rules) = self.policy().and_then(|policy| policy.ejection) else { return };
        let now = Instant::now();
        let mut state = self.lock();
        if !state.host(at.0).health.see(seen, &rules) {
            return;
        }
        let is_out = |host: &&Host| host.health.is_out(now);
        let (out, all) = (state.hosts.values().filter(is_out).count(), state.offered);
        let host = state.host(at.0);
        if !host.health.is_out(now) && may_eject(out, all, &rules) {
            host.health.eject(now, self.began, &rules);
            drop(state);
            tracing::info!(upstream.addr = %at, http.cluster = self.name(), "endpoint ejected: its last answers failed");
        }
    }

    fn name(&self) -> &str {
        self.backend.as_ref().map_or("", |backend| &backend.service)
    }

    /// Counts a request as under way.
    pub(crate) fn begin(self: &Arc<Self>, at: UpstreamAddr) -> Result<UnderWay, Overflow> {
        let mut state = self.lock();
        if is_reached(state.requests, self.limits().and_then(|limits| limits.requests)) {
            return Err(Overflow);
        }
        state.requests += 1;
        state.host(at.0).requests += 1;
        Ok(UnderWay { cluster: Arc::clone(self), at: at.0 })
    }

    /// Counts a retry as under way; an error where there are too many of them.
    pub(crate) fn begin_retry(self: &Arc<Self>) -> Result<Retrying, Overflow> {
        let mut state = self.lock();
        let by_count = self.limits().and_then(|limits| limits.retries);
        // A budget takes the place of the count.
        let budget = self.policy().and_then(|policy| policy.retry_budget);
        let most = budget.map_or(by_count, |(share, least)| {
            let load = u64::from(state.requests + state.pending);
            let part = load * u64::from(share) / MILLION;
            Some(u32::try_from(part).unwrap_or(u32::MAX).max(least))
        });
        if is_reached(state.retries, most) {
            return Err(Overflow);
        }
        state.retries += 1;
        Ok(Retrying(Arc::clone(self)))
    }

    /// Whether nothing is under way, waits, or is remembered.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.lock();
        state.hosts.is_empty() && state.requests == 0 && state.pending == 0 && state.retries == 0
    }
}

impl Host {
    /// Whether it was offered or used a short while ago.
    fn is_offered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < FORGOTTEN
    }
}

impl State {
    /// Those that are well, with what is known of them.
    fn well(&mut self, all: Vec<Candidate>, policy: &ClientPolicy) -> Vec<Candidate> {
        let now = Instant::now();
        let known = |mut one: Candidate| {
            let host = if policy.warmup.is_some() || policy.ejection.is_some() {
                Some(&*self.host(one.at))
            } else {
                self.hosts.get(&one.at)
            };
            one.active = host.map_or(0, |host| host.requests);
            if let (Some(host), Some(warmup)) = (host, &policy.warmup) {
                one.share = choose::warmed(one.share, host.since, now, warmup);
            }
            (one, host.is_some_and(|host| host.health.is_out(now)))
        };
        let all: Vec<(Candidate, bool)> = all.into_iter().map(known).collect();
        self.offered = all.len();
        let well = all.iter().filter(|(_, is_out)| !is_out).count();
        let takes_all = policy.ejection.is_none_or(|rules| is_panic(well, all.len(), &rules));
        all.into_iter().filter(|(_, is_out)| takes_all || !is_out).map(|(one, _)| one).collect()
    }

    fn table(
        &mut self,
        kind: agent_model::requests::policy::HashTable,
        of: &[Candidate],
    ) -> &Table {
        let of: Vec<(SocketAddr, u64)> = of.iter().map(|one| (one.at, one.share)).collect();
        let table = self.table.take().filter(|table| table.is_of(kind, &of));
        self.table.insert(table.unwrap_or_else(|| Table::new(kind, of)))
    }
}

fn is_reached(count: u32, most: Option<u32>) -> bool {
    most.is_some_and(|most| count >= most)
}

/// A request under way; it is counted until this goes.
#[derive(Debug)]
pub(crate) struct UnderWay {
    cluster: Arc<Cluster>,
    at: SocketAddr,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.cluster.lock();
        state.requests -= 1;
        state.host(self.at).requests -= 1;
    }
}

/// A retry under way; it is counted until this goes.
#[derive(Debug)]
pub(crate) struct Retrying(Arc<Cluster>);

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.lock().retries -= 1;
    }
}
