//! Answers a request for a certificate, or says why not.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent_base::{error::chain, lock::lock, rate_limit::RateLimit};
use agent_identity::{
    authorise::{Denied, Pods as _, Rules, authorise},
    bundle::to_pem,
    request::Request,
    spiffe::SpiffeId,
};
use jiff::{SignedDuration, Timestamp};
use tonic::Status;

use crate::{keys::Keys, known_pods::KnownPods, reviews::Reviews, wire};

/// How many certificates a node gets at once after a pause, and how often one more.
const BURST: u32 = 200;
const EVERY: Duration = Duration::from_millis(50);
/// How many nodes are remembered.
const NODES: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub struct Desk {
    /// Who may ask for what.
    pub rules: Rules,
    /// Whose tokens they are.
    pub reviews: Reviews,
    /// Where pods are.
    pub pods: Arc<KnownPods>,
    /// Who signs.
    pub keys: Arc<Keys>,
    /// What became of requests.
    pub outcomes: Mutex<BTreeMap<&'static str, u64>>,
    /// What each node may still ask for.
    pub shares: Mutex<HashMap<String, RateLimit>>,
}

impl Desk {
    /// Whether it can answer.
    pub fn ready(&self) -> Result<(), String> {
        if !self.pods.are_listed() {
            return Err("pods are not listed yet".to_owned());
        }
        self.keys.current().map(drop)
    }

    /// Answers the holder of a token.
    pub async fn answer(
        &self,
        token: Option<&str>,
        asked: &wire::Request,
    ) -> Result<wire::Answer, Status> {
        let answer = self.decide(token, asked).await;
        let name = match answer.as_ref().map_err(Status::code) {
            Ok(_) => "ok",
            Err(tonic::Code::Unavailable) => "unavailable",
            Err(tonic::Code::ResourceExhausted) => "too-many",
            Err(tonic::Code::InvalidArgument) => "invalid",
            Err(_) => "denied",
        };
        *lock(&self.outcomes).entry(name).or_default() += 1;
        answer
    }

    async fn decide(
        &self,
        token: Option<&str>,
        asked: &wire::Request,
    ) -> Result<wire::Answer, Status> {
        let token = token.ok_or_else(|| Status::unauthenticated("there is no token"))?;
        let review = self.reviews.of(token).await.map_err(|error| {
            Status::unavailable(format!("the token cannot be reviewed: {}", chain(&error)))
        })?;
        let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        let name = asked.identity().ok_or_else(|| invalid(&"no identity is asked for"))?;
        let id: SpiffeId = name.parse().map_err(|error| invalid(&error))?;
        let now = Timestamp::now();
        let node = authorise(&self.rules, &review, &id, &*self.pods, now).map_err(|denied| {
            tracing::warn!(identity = %id, user = review.user, why = %denied, "no certificate");
            status(&denied)
        })?;
        if !self.has_share(&node) {
            return Err(Status::resource_exhausted(format!("node {node} asks too often")));
        }
        let request = Request::from_pem(&asked.csr).map_err(|error| invalid(&error))?;
        let signer = self.keys.current().map_err(Status::unavailable)?;
        let life = SignedDuration::from_secs(asked.validity_duration);
        let made = signer.sign(&request, &id, life, now);
        let made = made.map_err(|error| Status::unavailable(error.to_string()))?;
        tracing::info!(identity = %id, node, ends = %made.not_after, "certificate signed");
        let mut cert_chain: Vec<_> =
            made.chain.iter().map(|one| to_pem(std::iter::once(one))).collect();
        cert_chain.push(signer.roots().to_pem());
        Ok(wire::Answer { cert_chain })
    }

    /// Takes one of what a node may ask for.
    fn has_share(&self, node: &str) -> bool {
        let (mut shares, now) = (lock(&self.shares), Instant::now());
        if shares.len() >= NODES {
            // A node that has not asked for long has all of it, whether it is remembered or not.
            shares.retain(|_, share| {
                share.refill(now);
                share.left() < BURST
            });
        }
        let share = shares.entry(node.to_owned()).or_insert(RateLimit::new(BURST, EVERY));
        share.take(now).is_some()
    }
}

fn status(denied: &Denied) -> Status {
    let message = denied.to_string();
    if denied.may_pass() {
        Status::unavailable(message)
    } else if denied.is_stranger() {
        Status::unauthenticated(message)
    } else {
        Status::permission_denied(message)
    }
}
