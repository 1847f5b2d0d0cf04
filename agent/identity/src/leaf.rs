//! A certificate of one of this node's identities, and what it must be before it is used.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::{pki_types::CertificateDer, sign::CertifiedKey};

use crate::{
    bundle::{Bundle, ChainError, Side, identity},
    facts::{Facts, FactsError},
    key::Key,
    spiffe::SpiffeId,
};

/// How far this node's clock may be from the authority's before a person is told, and before what the
/// authority signs is refused: it would be too young or too old for peers with a right clock.
const NOTED_SKEW: SignedDuration = SignedDuration::from_secs(30);
const MOST_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What an authority answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The leaf and the intermediates above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// What time it is there, where it says so.
    pub time: Option<Timestamp>,
}

/// Why a certificate is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// There is none.
    #[error("the CA answers without a certificate")]
    Empty,
    /// It cannot be read.
    #[error("the CA's certificate: {0}")]
    Facts(#[from] FactsError),
    /// It names another identity.
    #[error("the CA's certificate is for {}, and {asked} was asked for", shown(found))]
    Identity {
        /// What was asked for.
        asked: SpiffeId,
        /// All URIs of the certificate.
        found: Vec<String>,
    },
    /// It has another key.
    #[error("the CA's certificate has another key than the request")]
    Key,
    /// It has ended.
    #[error("the CA's certificate ended at {0}")]
    Ended(Timestamp),
    /// The clocks differ.
    #[error(
        "this node's clock is {} s {} the CA's: set both by the same time servers",
        .0.unsigned_abs().as_secs(), if .0.is_negative() { "behind" } else { "ahead of" }
    )]
    Skew(SignedDuration),
    /// It has not begun.
    #[error("the CA's certificate is valid from {0} on: this node's clock is behind the CA's")]
    NotYet(Timestamp),
    /// It leads to no root of the mesh.
    #[error("the CA's certificate: {0}")]
    Chain(#[from] ChainError),
    /// The key does not sign.
    #[error("the key of the certificate cannot be used")]
    Unusable,
}

fn shown(uris: &[String]) -> String {
    if uris.is_empty() { "no identity".to_owned() } else { uris.join(" and ") }
}

/// A certificate that may be used, with its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Whose.
    pub id: SpiffeId,
    /// What it says.
    pub facts: Facts,
    /// When this node got it: its life is counted from here, as CAs date their certificates back.
    pub received: Timestamp,
    /// The leaf and the intermediates above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// What TLS shows.
    pub certified: Arc<CertifiedKey>,
    pub(crate) key: Key,
}

impl Certificate {
    /// Takes what an authority answered for a key and an identity, if it is what was asked for.
    pub fn accept(
        id: &SpiffeId,
        key: Key,
        answer: &Answer,
        bundle: &Bundle,
        now: Timestamp,
    ) -> Result<Self, LeafError> {
        if let Some(skew) = skew(answer, now).filter(|skew| skew.abs() > MOST_SKEW) {
            return Err(LeafError::Skew(skew));
        }
        Self::restore(id, key, answer.chain.clone(), bundle, (now, now))
    }

    /// The same of a certificate that was kept: received at the first moment, used at the second.
    pub(crate) fn restore(
        id: &SpiffeId,
        key: Key,
        chain: Vec<CertificateDer<'static>>,
        bundle: &Bundle,
        (received, now): (Timestamp, Timestamp),
    ) -> Result<Self, LeafError> {
        let facts = Facts::of(chain.first().ok_or(LeafError::Empty)?)?;
        if identity(&facts).ok().as_ref() != Some(id) {
            return Err(LeafError::Identity { asked: id.clone(), found: facts.uris });
        }
        if facts.public_key != key.public_key() {
            return Err(LeafError::Key);
        }
        if facts.not_after <= now {
            return Err(LeafError::Ended(facts.not_after));
        }
        if now < facts.not_before {
            return Err(LeafError::NotYet(facts.not_before));
        }
        // Both ends of a connection show it.
        bundle.verify(&chain, now, Side::Client)?;
        bundle.verify(&chain, now, Side::Server)?;
        let certified = CertifiedKey::new(chain.clone(), key.signing());
        certified.keys_match().map_err(|_| LeafError::Unusable)?;
        Ok(Self { id: id.clone(), facts, received, chain, certified: Arc::new(certified), key })
    }
}

/// How far this node's clock is ahead of an authority's.
fn skew(answer: &Answer, now: Timestamp) -> Option<SignedDuration> {
    answer.time.map(|theirs| now.duration_since(theirs))
}

/// The same where it is so far that a person must know.
pub(crate) fn noted_skew(answer: &Answer, now: Timestamp) -> Option<SignedDuration> {
    skew(answer, now).filter(|skew| skew.abs() > NOTED_SKEW)
}

#[cfg(test)]
mod tests;
