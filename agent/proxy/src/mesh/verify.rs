//! Whether a certificate is that of a workload of the mesh: it leads to a root of the mesh, is valid now,
//! and names exactly one workload of a trust domain of the mesh. A server has to be one of those that
//! were meant.

use std::{collections::BTreeSet, fmt, sync::Arc};

use agent_identity::{
    bundle::{Bundle, ChainError, Side},
    spiffe::{SpiffeId, TrustDomains},
};
use jiff::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// TLS 1.2 is never agreed on.
const NO_TLS12: Error =
    Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired);

/// Servers, of whom some are meant.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) bundle: Arc<Bundle>,
    pub(super) domains: TrustDomains,
    pub(super) expected: BTreeSet<String>,
    pub(super) provider: Arc<CryptoProvider>,
}

/// Clients.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) bundle: Arc<Bundle>,
    pub(super) domains: TrustDomains,
    pub(super) provider: Arc<CryptoProvider>,
}

/// A workload other than those that were meant.
#[derive(thiserror::Error)]
#[error("the server is {found}, and {} was expected", list(.expected))]
struct Unexpected {
    found: SpiffeId,
    expected: BTreeSet<String>,
}

fn list(expected: &BTreeSet<String>) -> String {
    expected.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
}

/// `rustls` shows errors of others in this form alone.
impl fmt::Debug for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same.
struct Unbelieved(ChainError);

impl fmt::Debug for Unbelieved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Unbelieved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Unbelieved {}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn peer(
    (bundle, domains): (&Bundle, &TrustDomains),
    (end, between): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: UnixTime,
    side: Side,
) -> Result<SpiffeId, Error> {
    let chain: Vec<CertificateDer<'_>> =
        std::iter::once(end).chain(between).map(|one| CertificateDer::from(one.as_ref())).collect();
    let seconds = i64::try_from(now.as_secs()).map_err(|_| Error::FailedToGetCurrentTime)?;
    let at = Timestamp::from_second(seconds).map_err(|_| Error::FailedToGetCurrentTime)?;
    bundle.peer(&chain, at, side, domains).map_err(|error| refused(Unbelieved(error)))
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = peer((&self.bundle, &self.domains), (end, between), now, Side::Server)?;
        if !self.expected.contains(&found.to_string()) {
            return Err(refused(Unexpected { found, expected: self.expected.clone() }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        peer((&self.bundle, &self.domains), (end, between), now, Side::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
