//! Which roots are trusted, and whether a chain leads to one of them.

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject as _},
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::{
    facts::{Facts, FactsError, hex},
    spiffe::{SpiffeError, SpiffeId, TrustDomains},
};

/// Why no bundle can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A part is no PEM.
    #[error("there is something in it that is no certificate in PEM form")]
    Pem,
    /// It holds no root.
    #[error("there is no certificate in it")]
    Empty,
    /// A root cannot be read.
    #[error("certificate {number} of it: {source}")]
    Root {
        /// Counted from 1.
        number: usize,
        /// Why.
        source: FactsError,
    },
    /// A root is no CA.
    #[error("certificate {number} of it is no CA, so it cannot be a root")]
    NoAuthority {
        /// Counted from 1.
        number: usize,
    },
}

/// Why a chain, or the peer that shows it, is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no certificate.
    #[error("there is no certificate")]
    Empty,
    /// Its end cannot be read.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// It leads to no root that is trusted and valid.
    #[error("the chain leads to no trusted root: {0}")]
    Untrusted(String),
    /// It has no URI, or several.
    #[error("the certificate has {0} URIs among its names, where it must have exactly one")]
    Names(usize),
    /// Its URI is no identity.
    #[error(transparent)]
    Identity(#[from] SpiffeError),
    /// It is of another mesh.
    #[error("{0} is of another trust domain")]
    Foreign(SpiffeId),
}

/// On which side of a connection a certificate is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// By the one that connects.
    Client,
    /// By the one that accepts.
    Server,
}

/// The roots that are trusted, each once, in an order that does not depend on where they came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    roots: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// The roots of a PEM file. A part that cannot be read makes all of it unreadable: the rest may
    /// be half of what was meant.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BundleError> {
        Self::new(certificates(pem)?)
    }

    /// Of these roots.
    pub fn new(
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        let mut roots: Vec<_> = roots.into_iter().collect();
        for (at, root) in roots.iter().enumerate() {
            let number = at + 1;
            let facts = Facts::of(root).map_err(|source| BundleError::Root { number, source })?;
            if !facts.is_authority {
                return Err(BundleError::NoAuthority { number });
            }
        }
        if roots.is_empty() {
            return Err(BundleError::Empty);
        }
        sort(&mut roots);
        Ok(Self { roots })
    }

    /// The roots.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter()
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// These roots and others.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        self.roots.extend(other.roots.iter().cloned());
        sort(&mut self.roots);
        self
    }

    /// What tells it from other bundles, for logs and other nodes.
    pub fn digest(&self) -> String {
        let all: Vec<u8> =
            self.roots.iter().flat_map(|root| digest(&SHA256, root).as_ref().to_vec()).collect();
        hex(&digest(&SHA256, &all).as_ref()[..16])
    }

    /// As a PEM file.
    pub fn to_pem(&self) -> String {
        to_pem(self.roots.iter())
    }

    /// When the last of its roots that is valid at a moment ends.
    pub fn ends(&self, at: Timestamp) -> Option<Timestamp> {
        let facts = self.roots.iter().filter_map(|root| Facts::of(root).ok());
        facts.filter(|facts| facts.is_valid(at)).map(|facts| facts.not_after).max()
    }

    /// Whether a chain leads to a root that is valid at a moment. webpki itself never asks whether a
    /// root has ended.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        at: Timestamp,
        side: Side,
    ) -> Result<(), ChainError> {
        let [end, between @ ..] = chain else { return Err(ChainError::Empty) };
        let untrusted = |error: webpki::Error| ChainError::Untrusted(error.to_string());
        let end = EndEntityCert::try_from(end).map_err(untrusted)?;
        let anchors = self.anchors(at);
        if anchors.is_empty() {
            return Err(ChainError::Untrusted("no root is valid at this time".to_owned()));
        }
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let usage = match side {
            Side::Client => KeyUsage::client_auth(),
            Side::Server => KeyUsage::server_auth(),
        };
        let algorithms = default_provider().signature_verification_algorithms.all;
        end.verify_for_usage(algorithms, &anchors, between, time, usage, None, None)
            .map_err(untrusted)?;
        Ok(())
    }

    /// Who a peer is that shows a chain: one of the mesh, with exactly one URI.
    pub fn peer(
        &self,
        chain: &[CertificateDer<'_>],
        at: Timestamp,
        side: Side,
        domains: &TrustDomains,
    ) -> Result<SpiffeId, ChainError> {
        self.verify(chain, at, side)?;
        let id = identity_of(chain)?;
        if !domains.contains(id.trust_domain()) {
            return Err(ChainError::Foreign(id));
        }
        Ok(id)
    }

    fn anchors(&self, at: Timestamp) -> Vec<TrustAnchor<'_>> {
        let is_valid =
            |root: &&CertificateDer<'static>| Facts::of(root).is_ok_and(|facts| facts.is_valid(at));
        let roots = self.roots.iter().filter(is_valid);
        roots.filter_map(|root| anchor_from_trusted_cert(root).ok()).collect()
    }
}

fn sort(roots: &mut Vec<CertificateDer<'static>>) {
    roots.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    roots.dedup();
}

/// Who shows a chain that was verified before.
pub fn identity_of(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, ChainError> {
    identity(&Facts::of(chain.first().ok_or(ChainError::Empty)?)?)
}

/// The identity that a certificate names, which must have no other URI.
pub(crate) fn identity(facts: &Facts) -> Result<SpiffeId, ChainError> {
    match facts.uris.as_slice() {
        [uri] => Ok(uri.parse()?),
        uris => Err(ChainError::Names(uris.len())),
    }
}

/// All certificates of a PEM file, of which every part must be one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.map_err(|_| BundleError::Pem)
}

/// Certificates as a PEM file.
pub fn to_pem<'a>(all: impl Iterator<Item = &'a CertificateDer<'static>>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    all.map(|one| pem::encode_config(&pem::Pem::new("CERTIFICATE", one.to_vec()), config)).collect()
}
