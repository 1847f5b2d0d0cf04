//! An authority: signs a certificate with one name, for a key that its asker has.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;

use crate::{
    bundle::{Bundle, BundleError, ChainError, Side, certificates},
    dates::{BACKDATED, moment, serial},
    facts::{Facts, FactsError},
    key::{Key, KeyError},
    material::Material,
    request::Request,
    spiffe::SpiffeId,
};

/// The certificate of its own server is dated back by this much.
const SERVER_BACKDATED: SignedDuration = SignedDuration::from_hours(24);

/// Why an authority signs nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// A file's certificates cannot be read.
    #[error("{name}: {source}; give certificates in PEM form")]
    Certificates {
        /// The file.
        name: &'static str,
        /// Why.
        source: BundleError,
    },
    /// A certificate cannot be read.
    #[error("{name}: {source}; give certificates in PEM form")]
    Facts {
        /// The file.
        name: &'static str,
        /// Why.
        source: FactsError,
    },
    /// The key cannot be read.
    #[error("{name}: {source}; give the key of the CA's certificate")]
    Key {
        /// The file.
        name: &'static str,
        /// Why.
        source: KeyError,
    },
    /// The key is another's.
    #[error("{key} does not fit {certificate}: give the key that the certificate was made for")]
    KeyDoesNotFit {
        /// The key's file.
        key: &'static str,
        /// The certificate's.
        certificate: &'static str,
    },
    /// The issuer may not sign.
    #[error(
        "{0} is no CA: give a certificate with the basic constraint CA:TRUE whose key usage allows \
         to sign certificates"
    )]
    NoAuthority(&'static str),
    /// The issuer ends before what it would sign.
    #[error(
        "{name} ends at {ends}, before a certificate of {} would: renew the CA's certificate, or \
         give a shorter --ca-ttl", of_time(*.ttl)
    )]
    Ends {
        /// The issuer's file.
        name: &'static str,
        /// When.
        ends: Timestamp,
        /// How long a certificate lives.
        ttl: SignedDuration,
    },
    /// It has not begun.
    #[error(
        "{name} is valid from {begins} on: set this machine's clock, or give another certificate"
    )]
    NotYet {
        /// The issuer's file.
        name: &'static str,
        /// When.
        begins: Timestamp,
    },
    /// What it signs leads to no root of its own.
    #[error(
        "{certificate} does not lead to a root in {roots} ({source}): give all intermediates in \
         {chain} and the root that they lead to in {roots}"
    )]
    Chain {
        /// The issuer's file.
        certificate: &'static str,
        /// That of the roots.
        roots: &'static str,
        /// That of the intermediates.
        chain: &'static str,
        /// Why.
        source: Box<ChainError>,
    },
    /// Nothing is signed.
    #[error("no certificate can be made: {0}")]
    Sign(String),
}

/// A duration as people write one.
fn of_time(time: SignedDuration) -> String {
    format!("{time:#}")
}

/// See the module.
#[derive(Debug)]
pub struct Signer {
    issuer: Issuer<'static, Key>,
    /// What goes behind a leaf.
    between: Vec<CertificateDer<'static>>,
    roots: Bundle,
    ends: Timestamp,
    most: SignedDuration,
}

/// What was signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The leaf and the intermediates above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the leaf ends.
    pub not_after: Timestamp,
}

impl Signer {
    /// An authority that signs for at most a time, if its parts fit and it outlives what it signs.
    pub fn open(
        material: &Material,
        most: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, SignerError> {
        let Material { certificate, key, roots, between } = material;
        let read = |part: &crate::material::Part| {
            let name = part.name;
            certificates(&part.text).map_err(|source| SignerError::Certificates { name, source })
        };
        let bundle = Bundle::from_pem(&roots.text)
            .map_err(|source| SignerError::Certificates { name: roots.name, source })?;
        let mut chain = read(certificate)?;
        chain.extend(between.as_ref().map(read).transpose()?.unwrap_or_default());
        let name = certificate.name;
        let source = BundleError::Empty;
        let first = chain.first().ok_or(SignerError::Certificates { name, source })?.clone();
        let facts = Facts::of(&first).map_err(|source| SignerError::Facts { name, source })?;
        let key_name = key.name;
        let key = Key::from_pem(&key.text)
            .map_err(|source| SignerError::Key { name: key_name, source })?;
        if key.public_key() != facts.public_key {
            return Err(SignerError::KeyDoesNotFit { key: key_name, certificate: name });
        }
        check(name, &facts, most, now)?;
        let issuer = Issuer::from_ca_cert_der(&first, key)
            .map_err(|error| SignerError::Sign(error.to_string()))?;
        // A root that signs by itself saves both ends of a connection the proof of an intermediate.
        chain.retain(|one| !bundle.roots().any(|root| root == one));
        chain.dedup();
        let signer = Self { issuer, between: chain, roots: bundle, ends: facts.not_after, most };
        signer.prove(now).map_err(|source| SignerError::Chain {
            certificate: name,
            roots: roots.name,
            chain: between.as_ref().map_or(name, |part| part.name),
            source: Box::new(source),
        })?;
        Ok(signer)
    }

    /// Signs something for its own eyes, which must lead to a root when it is made and when it ends.
    fn prove(&self, now: Timestamp) -> Result<(), ChainError> {
        let failed = |error: &dyn std::fmt::Display| ChainError::Untrusted(error.to_string());
        let key = Key::generate().map_err(|error| failed(&error))?;
        let id: SpiffeId = "spiffe://proof/ns/proof/sa/proof".parse()?;
        let signed = self.make(&key, &id, self.most, now).map_err(|error| failed(&error))?;
        let last = signed.not_after.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(now);
        self.roots.verify(&signed.chain, now, Side::Server)?;
        self.roots.verify(&signed.chain, last, Side::Client)
    }

    /// The roots that its certificates lead to.
    pub fn roots(&self) -> &Bundle {
        &self.roots
    }

    /// When its own certificate ends.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// A certificate for the key of a request, with one name. It lives as long as was asked for, but
    /// not longer than this authority allows or lives itself.
    pub fn sign(
        &self,
        request: &Request,
        id: &SpiffeId,
        asked: SignedDuration,
        now: Timestamp,
    ) -> Result<Signed, SignerError> {
        self.make(&request.public_key, id, asked, now)
    }

    /// A certificate for a server of its own, by a DNS name. It names no workload.
    pub fn serve(
        &self,
        key: &Key,
        name: &str,
        now: Timestamp,
    ) -> Result<Vec<CertificateDer<'static>>, SignerError> {
        let failed = |error: &dyn std::fmt::Display| SignerError::Sign(error.to_string());
        let name = name.to_owned().try_into().map_err(|error: rcgen::Error| failed(&error))?;
        let mut params = self.leaf(self.most, now)?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // A client whose clock is far behind must still hear from this server what time it is.
        params.not_before = moment(now.saturating_sub(SERVER_BACKDATED).unwrap_or(now));
        self.issue(&params, key)
    }

    fn make(
        &self,
        key: &impl rcgen::PublicKeyData,
        id: &SpiffeId,
        asked: SignedDuration,
        now: Timestamp,
    ) -> Result<Signed, SignerError> {
        let failed = |error: &dyn std::fmt::Display| SignerError::Sign(error.to_string());
        let uri = id.to_string().try_into().map_err(|error: rcgen::Error| failed(&error))?;
        let life = if asked.is_positive() { asked.min(self.most) } else { self.most };
        let mut params = self.leaf(life, now)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        Ok(Signed { chain: self.issue(&params, key)?, not_after: self.end(life, now) })
    }

    fn end(&self, life: SignedDuration, now: Timestamp) -> Timestamp {
        now.saturating_add(life).unwrap_or(now).min(self.ends)
    }

    /// What all leaves have, but for a name.
    fn leaf(&self, life: SignedDuration, now: Timestamp) -> Result<CertificateParams, SignerError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let number = serial().ok_or_else(|| SignerError::Sign("no random bytes".to_owned()))?;
        params.serial_number = Some(number);
        params.not_before = moment(now.saturating_sub(BACKDATED).unwrap_or(now));
        params.not_after = moment(self.end(life, now));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn issue(
        &self,
        params: &CertificateParams,
        key: &impl rcgen::PublicKeyData,
    ) -> Result<Vec<CertificateDer<'static>>, SignerError> {
        let leaf = params.signed_by(key, &self.issuer);
        let leaf = leaf.map_err(|error| SignerError::Sign(error.to_string()))?;
        let mut chain = vec![leaf.der().clone()];
        chain.extend(self.between.iter().cloned());
        Ok(chain)
    }
}

/// Whether a certificate may issue others that live this long.
fn check(
    name: &'static str,
    facts: &Facts,
    ttl: SignedDuration,
    now: Timestamp,
) -> Result<(), SignerError> {
    if !facts.is_authority {
        return Err(SignerError::NoAuthority(name));
    }
    if now < facts.not_before {
        return Err(SignerError::NotYet { name, begins: facts.not_before });
    }
    if now.saturating_add(ttl).unwrap_or(Timestamp::MAX) > facts.not_after {
        return Err(SignerError::Ends { name, ends: facts.not_after, ttl });
    }
    Ok(())
}
