//! Runs the schedule: asks the authority, keeps what it answers, and lends it to connections.

pub mod roots;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_base::lock::lock;
use futures_util::future::{BoxFuture, FutureExt as _};
use jiff::{SignedDuration, Timestamp};
use rustls::sign::CertifiedKey;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    bundle::{Bundle, Side},
    kept::Kept,
    key::{Key, KeyError},
    leaf::{Answer, Certificate, LeafError, noted_skew},
    schedule::{Action, Found, Now, Schedule, Ticket, View},
    spiffe::SpiffeId,
};

/// How long a connection waits for a certificate.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an authority may take.
const SLOWEST: Duration = Duration::from_secs(10);
/// The longest sleep: the time of day may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Who signs.
pub trait Authority: fmt::Debug + Send + Sync + 'static {
    /// Has a request (PEM) signed for an identity.
    fn sign(&self, id: SpiffeId, request: String) -> BoxFuture<'_, Result<Answer, FetchError>>;
}

/// Why there is no new certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The authority does not answer.
    #[error("the CA cannot be reached: {0}")]
    Away(String),
    /// It refuses.
    #[error("the CA refuses: {0}")]
    Refused(String),
    /// What it answers is not used.
    #[error(transparent)]
    Unusable(#[from] LeafError),
    /// Which roots to believe is not known.
    #[error("the mesh's roots are not known yet, so no certificate is believed")]
    NoRoots,
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl FetchError {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Away(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Unusable(_) => "unusable",
            Self::NoRoots => "no-roots",
            Self::Key(_) => "no-key",
        }
    }
}

/// Why a connection has no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCertificate {
    /// None came in time.
    #[error("no-certificate")]
    Missing,
    /// The last one has ended.
    #[error("certificate-expired")]
    Expired,
    /// No pod of the identity is on this node.
    #[error("no-such-identity")]
    Unknown,
}

/// The certificates of this node's identities.
#[derive(Clone, Debug)]
pub struct Identities(Arc<Shared>);

/// The time of day.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

struct Shared {
    clock: Clock,
    since: Instant,
    state: Mutex<State>,
    wake: Notify,
    /// How often something came or went.
    changes: watch::Sender<u64>,
    bundle: watch::Sender<Arc<Bundle>>,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    held: BTreeMap<SpiffeId, Arc<Certificate>>,
    outcomes: BTreeMap<&'static str, u64>,
    /// How far this node's clock is ahead of the authority's, where a person must know.
    skew: Option<SignedDuration>,
    /// Why a certificate could not be kept.
    not_kept: Option<String>,
}

/// What is told of one identity.
#[derive(Clone, Debug)]
pub struct IdentityView {
    /// Which.
    pub id: SpiffeId,
    /// Its certificate.
    pub certificate: Option<Arc<Certificate>>,
    /// Its place in the schedule.
    pub turn: View,
}

/// What is told of all of them.
#[derive(Clone, Debug)]
pub struct Report {
    /// By name.
    pub identities: Vec<IdentityView>,
    /// How often certificates were asked for, by what became of it.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// See [`Bundle::digest`]; none before roots are known.
    pub roots: Option<String>,
    /// When the last root ends.
    pub roots_end: Option<Timestamp>,
    /// How far this node's clock is ahead of the authority's, where that is far.
    pub skew: Option<SignedDuration>,
    /// Whether a restart finds the certificates again.
    pub is_kept: bool,
    /// Why one could not be kept.
    pub not_kept: Option<String>,
    /// What time it is.
    pub now: Timestamp,
}

impl Identities {
    /// With what an earlier agent kept, if that may still be used.
    pub fn new(kept: Option<Kept>, clock: Clock, seed: u64) -> Self {
        let now = Now { tick: Duration::ZERO, wall: clock() };
        let mut schedule = Schedule::new(seed);
        let bundle = kept.as_ref().and_then(Kept::trust).unwrap_or_default();
        let restored = kept.iter().flat_map(|kept| kept.certificates(&bundle, now.wall));
        let mut held = BTreeMap::new();
        for certificate in restored {
            let Certificate { id, facts, received, .. } = &certificate;
            schedule.restore(id.clone(), facts.not_after, *received, now);
            held.insert(id.clone(), Arc::new(certificate));
        }
        let outcomes = BTreeMap::new();
        let state = State { schedule, held, outcomes, skew: None, not_kept: None };
        Self(Arc::new(Shared {
            clock,
            since: Instant::now(),
            state: Mutex::new(state),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
            bundle: watch::Sender::new(Arc::new(bundle)),
            kept,
        }))
    }

    /// Says which identities have a pod on this node.
    pub fn want(&self, ids: &BTreeSet<SpiffeId>) {
        let now = self.0.now();
        lock(&self.0.state).schedule.want(ids, now);
        self.0.wake.notify_one();
    }

    /// The certificate of an identity, for a connection that waits for it.
    pub async fn certified(&self, id: &SpiffeId) -> Result<Arc<CertifiedKey>, NoCertificate> {
        let mut changes = self.0.changes.subscribe();
        let until = Instant::now() + PATIENCE;
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.0.find(id)? {
                return Ok(Arc::clone(&found.certified));
            }
            self.0.wake.notify_one();
            match timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(NoCertificate::Missing),
            }
        }
    }

    /// The roots that are trusted, now and whenever they change.
    pub fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.0.bundle.subscribe()
    }

    /// Trusts these roots and no others. Certificates that lead to none of them are renewed.
    pub fn trust(&self, bundle: Bundle) {
        if **self.0.bundle.borrow() == bundle {
            return;
        }
        tracing::info!(roots = bundle.digest(), "the mesh's roots changed");
        if let Some(kept) = &self.0.kept
            && let Err(error) = kept.keep_trust(&bundle)
        {
            lock(&self.0.state).not_kept = Some(error.to_string());
        }
        let now = self.0.now();
        let mut state = lock(&self.0.state);
        let State { schedule, held, .. } = &mut *state;
        for (id, certificate) in held {
            if bundle.verify(&certificate.chain, now.wall, Side::Server).is_err() {
                schedule.renew(id, now);
            }
        }
        drop(state);
        self.0.bundle.send_replace(Arc::new(bundle));
        self.0.wake.notify_one();
    }

    /// What is told of them.
    pub fn report(&self) -> Report {
        let now = self.0.now();
        let bundle = Arc::clone(&self.0.bundle.borrow());
        let state = lock(&self.0.state);
        let view = |(id, turn): (&SpiffeId, View)| {
            let certificate = state.held.get(id).cloned();
            IdentityView { id: id.clone(), certificate, turn }
        };
        Report {
            identities: state.schedule.views(now).map(view).collect(),
            outcomes: state.outcomes.clone(),
            roots: (!bundle.is_empty()).then(|| bundle.digest()),
            roots_end: bundle.ends(now.wall),
            skew: state.skew,
            is_kept: self.0.kept.is_some(),
            not_kept: state.not_kept.clone(),
            now: now.wall,
        }
    }

    /// Asks an authority for what is due, as long as the future lives.
    pub async fn run(self, authority: Arc<dyn Authority>) {
        let mut fetches = JoinSet::new();
        loop {
            let pause = self.0.begin_due(&authority, &mut fetches);
            tokio::select! {
                () = self.0.wake.notified() => {}
                Some(Ok(Fetched { id, ticket, outcome })) = fetches.join_next() => {
                    self.0.take(&id, ticket, outcome);
                }
                () = sleep(pause) => {}
            }
        }
    }
}

struct Fetched {
    id: SpiffeId,
    ticket: Ticket,
    outcome: Result<(Certificate, Option<SignedDuration>), FetchError>,
}

impl Shared {
    fn now(&self) -> Now {
        Now { tick: self.since.elapsed(), wall: (self.clock)() }
    }

    fn find(&self, id: &SpiffeId) -> Result<Option<Arc<Certificate>>, NoCertificate> {
        let now = self.now();
        let mut state = lock(&self.state);
        match state.schedule.find(id, now) {
            Found::Held => Ok(state.held.get(id).cloned()),
            Found::Pending => Ok(None),
            Found::Expired => {
                // Its renewal now goes before others.
                self.wake.notify_one();
                Err(NoCertificate::Expired)
            }
            Found::Unknown => Err(NoCertificate::Unknown),
        }
    }

    /// Begins what is due, and says how long there is nothing else.
    fn begin_due(
        self: &Arc<Self>,
        authority: &Arc<dyn Authority>,
        fetches: &mut JoinSet<Fetched>,
    ) -> Duration {
        let now = self.now();
        let mut state = lock(&self.state);
        for action in state.schedule.due(now) {
            match action {
                Action::Drop(id) => {
                    state.held.remove(&id);
                    tracing::info!(identity = %id, "certificate dropped: its last pod left");
                    self.kept.iter().for_each(|kept| kept.drop(&id));
                }
                Action::Fetch(id, ticket) => {
                    let (shared, authority) = (Arc::clone(self), Arc::clone(authority));
                    fetches.spawn(async move {
                        let fetching = AssertUnwindSafe(shared.fetch(&*authority, &id));
                        // Its place among the running must come back, whatever happens.
                        let panicked = |_| FetchError::Away("asking it panicked".to_owned());
                        let outcome = fetching.catch_unwind().await.map_err(panicked).flatten();
                        Fetched { id, ticket, outcome }
                    });
                }
            }
        }
        state.schedule.idle(now).map_or(LONGEST_SLEEP, |pause| pause.min(LONGEST_SLEEP))
    }

    async fn fetch(
        &self,
        authority: &dyn Authority,
        id: &SpiffeId,
    ) -> Result<(Certificate, Option<SignedDuration>), FetchError> {
        let key = Key::generate()?;
        let request = key.request(id)?;
        let answer = timeout(SLOWEST, authority.sign(id.clone(), request)).await;
        let slow = || FetchError::Away(format!("no answer in {} s", SLOWEST.as_secs()));
        let answer = answer.map_err(|_| slow())??;
        let bundle = Arc::clone(&self.bundle.borrow());
        if bundle.is_empty() {
            return Err(FetchError::NoRoots);
        }
        let now = (self.clock)();
        let skew = noted_skew(&answer, now);
        Ok((Certificate::accept(id, key, &answer, &bundle, now)?, skew))
    }

    fn take(
        &self,
        id: &SpiffeId,
        ticket: Ticket,
        outcome: Result<(Certificate, Option<SignedDuration>), FetchError>,
    ) {
        let now = self.now();
        let mut state = lock(&self.state);
        let name = outcome.as_ref().err().map_or("ok", FetchError::name);
        *state.outcomes.entry(name).or_default() += 1;
        match outcome {
            Err(error) => {
                if let FetchError::Unusable(LeafError::Skew(skew)) = &error {
                    state.skew = Some(*skew);
                }
                tracing::warn!(identity = %id, %error, "no new certificate");
                state.schedule.failed(id, ticket, error.to_string(), now);
            }
            Ok((certificate, skew)) => {
                state.skew = skew;
                let facts = &certificate.facts;
                if !state.schedule.fetched(id, ticket, facts.not_after, now) {
                    return;
                }
                let (serial, ends) = (&facts.serial, facts.not_after);
                tracing::info!(identity = %id, serial, %ends, "new certificate");
                let kept = self.kept.as_ref().map(|kept| kept.keep(&certificate));
                state.not_kept = kept.and_then(Result::err).map(|error| error.to_string());
                state.held.insert(id.clone(), Arc::new(certificate));
                self.changes.send_modify(|count| *count += 1);
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("kept", &self.kept).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
