//! The certificates of this node's pods: who signs them, which are wanted, and what is told of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use agent_base::lock::lock;
use agent_ca::client::{Client, Settings, follow_roots};
use agent_identity::{
    ca_dir::CaDir,
    kept::Kept,
    life::{Identities, IdentityView},
    spiffe::SpiffeId,
};
use agent_model::snapshot::{Enrolment, PodPlan, Snapshot};
use jiff::{SignedDuration, Timestamp};

use crate::observe::status;

/// See the module.
#[derive(Debug)]
pub(crate) struct Identity {
    identities: Identities,
    /// Who signs, for people.
    ca: String,
    /// Names that are no identities, and why.
    unusable: Mutex<BTreeMap<String, String>>,
}

impl Identity {
    /// With a CA in a directory. What an earlier agent kept in the run directory is used at once. The
    /// future does the work.
    pub(crate) fn with_directory(
        ca_dir: &Path,
        ttl: SignedDuration,
        run_dir: &Path,
    ) -> io::Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>)> {
        let identity = Self::open(run_dir, format!("directory {}", ca_dir.display()))?;
        let identities = identity.identities.clone();
        let ca = Arc::new(CaDir::new(ca_dir.to_owned(), ttl));
        let follow = Arc::clone(&ca).follow(identities.clone());
        let work = async move {
            tokio::join!(follow, identities.run(ca));
        };
        Ok((identity, work))
    }

    /// The same, with a CA that is a server.
    pub(crate) fn with_server(
        settings: Settings,
        run_dir: &Path,
    ) -> io::Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>)> {
        let identity = Self::open(run_dir, settings.address.clone())?;
        let identities = identity.identities.clone();
        let follow = follow_roots(settings.roots.clone(), identities.clone());
        let client = Arc::new(Client::new(settings, &identities));
        let work = async move {
            tokio::join!(follow, identities.run(client));
        };
        Ok((identity, work))
    }

    /// Certificates for connections.
    pub(crate) fn identities(&self) -> Identities {
        self.identities.clone()
    }

    fn open(run_dir: &Path, ca: String) -> io::Result<Arc<Self>> {
        let kept = Kept::open(run_dir)?;
        let identities = Identities::new(kept, Box::new(Timestamp::now), fastrand::u64(..));
        Ok(Arc::new(Self { identities, ca, unusable: Mutex::default() }))
    }

    /// Says which pods are on this node.
    pub(crate) fn want(&self, snapshot: &Snapshot) {
        let (mut ids, mut unusable) = (BTreeSet::new(), BTreeMap::new());
        let is_enrolled = |plan: &&PodPlan| matches!(plan.enrolment, Enrolment::Enrolled(_));
        for name in snapshot.pods.values().filter(is_enrolled).filter_map(|it| it.identity.as_ref())
        {
            match name.parse::<SpiffeId>() {
                Ok(id) => {
                    ids.insert(id);
                }
                Err(error) => {
                    unusable.insert(name.clone(), error.to_string());
                }
            }
        }
        self.identities.want(&ids);
        *lock(&self.unusable) = unusable;
    }

    /// What is told of them.
    pub(crate) fn status(&self) -> status::Identity {
        let report = self.identities.report();
        let fetches = report.outcomes.into_iter().map(|(name, count)| (name.into(), count));
        status::Identity {
            ca: self.ca.clone(),
            roots: report.roots,
            roots_end: report.roots_end,
            kept: report.is_kept,
            not_kept: report.not_kept,
            clock_ahead: report.skew.map(|skew| skew.as_secs()),
            fetches: fetches.collect(),
            certificates: report.identities.iter().map(|it| certificate(it, report.now)).collect(),
            unusable: lock(&self.unusable).clone(),
            now: report.now,
        }
    }
}

fn certificate(view: &IdentityView, now: Timestamp) -> status::Certificate {
    let facts = view.certificate.as_ref().map(|certificate| &certificate.facts);
    let state = match facts {
        None => "pending",
        Some(facts) if facts.not_after <= now => "expired",
        Some(_) => "valid",
    };
    status::Certificate {
        identity: view.id.to_string(),
        state: state.into(),
        serial: facts.map(|facts| facts.serial.clone()),
        issuer: facts.map(|facts| facts.issuer.clone()),
        issued: view.certificate.as_ref().map(|certificate| certificate.received),
        expires: facts.map(|facts| facts.not_after),
        next: view.turn.next,
        failures: view.turn.failures.into(),
        last_error: view.turn.last_error.clone(),
    }
}
