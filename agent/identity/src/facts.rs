//! What a certificate says of itself, before anything is believed of it.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, parse_x509_certificate, prelude::X509Certificate};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The URIs among its alternative names.
    pub uris: Vec<String>,
    /// In hexadecimal, as openssl writes it.
    pub serial: String,
    /// The distinguished name of its issuer.
    pub issuer: String,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Its key with the key's algorithm, DER.
    pub public_key: Vec<u8>,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Whether issuer and subject are one.
    pub is_self_issued: bool,
}

/// Why a certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// It is no certificate.
    #[error("this is no X.509 certificate")]
    Unreadable,
    /// An extension is malformed or there twice.
    #[error("an extension of the certificate is malformed or there twice")]
    Extension,
    /// A time is out of range.
    #[error("a time of the certificate is out of range")]
    Time,
}

impl Facts {
    /// Reads a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, FactsError> {
        let (rest, parsed) =
            parse_x509_certificate(certificate).map_err(|_| FactsError::Unreadable)?;
        if !rest.is_empty() {
            return Err(FactsError::Unreadable);
        }
        let validity = parsed.validity();
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| FactsError::Time);
        Ok(Self {
            uris: uris(&parsed)?,
            serial: hex(parsed.raw_serial()),
            issuer: parsed.issuer().to_string(),
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
            public_key: parsed.public_key().raw.to_vec(),
            is_authority: is_authority(&parsed)?,
            is_self_issued: parsed.issuer().as_raw() == parsed.subject().as_raw(),
        })
    }

    /// Whether it is valid at a moment.
    pub fn is_valid(&self, at: Timestamp) -> bool {
        self.not_before <= at && at < self.not_after
    }
}

fn uris(parsed: &X509Certificate<'_>) -> Result<Vec<String>, FactsError> {
    let names = parsed.subject_alternative_name().map_err(|_| FactsError::Extension)?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    Ok(names.filter_map(uri).collect())
}

/// A CA by its basic constraints, whose key usage allows to sign certificates.
fn is_authority(parsed: &X509Certificate<'_>) -> Result<bool, FactsError> {
    let constraints = parsed.basic_constraints().map_err(|_| FactsError::Extension)?;
    let usage = parsed.key_usage().map_err(|_| FactsError::Extension)?;
    Ok(constraints.is_some_and(|it| it.value.ca) && usage.is_none_or(|it| it.value.key_cert_sign()))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
