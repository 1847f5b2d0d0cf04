//! What an authority signs with, as it lies in a directory or a Secret: under the names of istiod's
//! `cacerts`, or under those that `kubectl create secret tls` and cert-manager give.

use std::{collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::dates::{BACKDATED, moment, serial};

/// The names of `cacerts` (Istio: plug in CA certificates).
pub const CA_CERT: &str = "ca-cert.pem";
/// See [`CA_CERT`].
pub const CA_KEY: &str = "ca-key.pem";
/// See [`CA_CERT`].
pub const ROOT_CERT: &str = "root-cert.pem";
/// See [`CA_CERT`].
pub const CERT_CHAIN: &str = "cert-chain.pem";
/// The names of a Secret of type `kubernetes.io/tls`.
const TLS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// All names under which something is read.
pub const NAMES: [&str; 7] =
    [CA_CERT, CA_KEY, ROOT_CERT, CERT_CHAIN, "tls.crt", "tls.key", "ca.crt"];

/// How long a root lives that is made here: 10 years.
const ROOT_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// Files by their names. The contents are zeroised when this goes.
pub type Files = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// A text of a file, and the name that it has for people.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) text: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Material {
    pub(crate) certificate: Part,
    pub(crate) key: Part,
    pub(crate) roots: Part,
    /// The intermediates between the certificate and the roots.
    pub(crate) between: Option<Part>,
}

/// A file that is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingError {
    /// There are some of them.
    #[error("{0} is missing beside {1}")]
    Part(&'static str, &'static str),
    /// There is none of them.
    #[error(
        "there is neither {CA_CERT} with {CA_KEY} and {ROOT_CERT}, nor tls.crt with tls.key and ca.crt"
    )]
    All,
}

/// No root could be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no root can be made: the kernel gives no random bytes")]
pub struct MakeError;

impl Material {
    /// Finds the parts among files. `tls.crt` goes first, as in istiod.
    pub fn find(files: &Files) -> Result<Self, MissingError> {
        let [certificate, key, roots] = TLS;
        if files.contains_key(certificate) {
            return Self::with(files, [certificate, key, roots], None);
        }
        let between = files.contains_key(CERT_CHAIN).then_some(CERT_CHAIN);
        Self::with(files, [CA_CERT, CA_KEY, ROOT_CERT], between)
    }

    fn with(
        files: &Files,
        names: [&'static str; 3],
        between: Option<&'static str>,
    ) -> Result<Self, MissingError> {
        let there = names.into_iter().find(|name| files.contains_key(*name));
        let there = there.ok_or(MissingError::All)?;
        let part = |name: &'static str| {
            let text = files.get(name).ok_or(MissingError::Part(name, there))?.clone();
            Ok(Part { name, text })
        };
        let [certificate, key, roots] = names;
        Ok(Self {
            certificate: part(certificate)?,
            key: part(key)?,
            roots: part(roots)?,
            between: between.map(part).transpose()?,
        })
    }

    /// Files with a new self-signed root and its key.
    pub fn make(now: Timestamp) -> Result<Files, MakeError> {
        let mut pair = KeyPair::generate().map_err(|_| MakeError)?;
        let mut params = CertificateParams::default();
        let number = serial().ok_or(MakeError)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Sekisho");
        // Two roots of one mesh, one to follow the other, must be told apart by people.
        let name = format!("mesh root {}", now.strftime("%Y-%m-%d"));
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(number);
        params.not_before = moment(now.saturating_sub(BACKDATED).unwrap_or(now));
        params.not_after = moment(now.saturating_add(ROOT_LIFE).unwrap_or(now));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&pair).map_err(|_| MakeError)?.pem();
        let key = Zeroizing::new(pair.serialize_pem().into_bytes());
        pair.zeroize();
        let public = |name: &str| (name.to_owned(), Zeroizing::new(certificate.clone().into()));
        Ok([public(CA_CERT), (CA_KEY.to_owned(), key), public(ROOT_CERT)].into())
    }
}
