//! What the API server says of tokens. An answer counts for a minute, and is kept by the token's hash:
//! the token itself is not.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use agent_base::lock::lock;
use agent_identity::authorise::Review;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

/// How long an answer counts.
const KEPT: Duration = Duration::from_mins(1);
/// How many are kept: those of 5,000 nodes, whose tokens are renewed.
const MOST: usize = 10_000;

type Hash = [u8; 32];

/// See the module.
pub struct Reviews {
    api: Api<TokenReview>,
    audience: String,
    known: Mutex<HashMap<Hash, (Instant, Review)>>,
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Reviews {
    /// Of tokens for an audience.
    pub fn new(client: Client, audience: String) -> Self {
        Self { api: Api::all(client), audience, known: Mutex::default() }
    }

    /// What the server says of a token. Only what it believes is kept.
    pub async fn of(&self, token: &str) -> kube::Result<Review> {
        let hash: Hash = digest(&SHA256, token.as_bytes()).as_ref().try_into().unwrap_or_default();
        let now = Instant::now();
        if let Some((until, review)) = lock(&self.known).get(&hash)
            && now < *until
        {
            return Ok(review.clone());
        }
        let spec = TokenReviewSpec {
            audiences: Some(vec![self.audience.clone()]),
            token: Some(token.to_owned()),
        };
        let asked = TokenReview { spec, ..TokenReview::default() };
        let review = review(self.api.create(&PostParams::default(), &asked).await?);
        if review.authenticated {
            let mut known = lock(&self.known);
            if known.len() >= MOST {
                known.retain(|_, (until, _)| now < *until);
            }
            if known.len() < MOST {
                known.insert(hash, (now + KEPT, review.clone()));
            }
        }
        Ok(review)
    }
}

fn review(answer: TokenReview) -> Review {
    let status = answer.status.unwrap_or_default();
    let user = status.user.unwrap_or_default();
    let extra = user.extra.unwrap_or_default();
    let first =
        |name: &str| extra.get(&format!("authentication.kubernetes.io/{name}"))?.first().cloned();
    Review {
        authenticated: status.authenticated.unwrap_or_default() && status.error.is_none(),
        audiences: status.audiences.unwrap_or_default(),
        user: user.username.unwrap_or_default(),
        pod_name: first("pod-name"),
        pod_uid: first("pod-uid"),
        node_name: first("node-name"),
    }
}
