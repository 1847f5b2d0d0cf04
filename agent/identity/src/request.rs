//! What someone asks to have signed. Only its key counts: the names in a request are the asker's
//! words, and the certificate's are written by the signer.

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
use x509_parser::{
    certification_request::X509CertificationRequest, prelude::FromDer as _, public_key::PublicKey,
};

/// The most bytes of a request: one for RSA of 4,096 bits has 1,700.
const LONGEST: usize = 16 * 1024;
/// The fewest bits of an RSA key.
const FEWEST_BITS: usize = 2048;

/// Why nothing is signed for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is none.
    #[error("this is no certificate request in PEM form")]
    Unreadable,
    /// It is too long.
    #[error("a certificate request has at most {LONGEST} bytes")]
    Long,
    /// It is not signed with its key: the asker may not have the key.
    #[error("the request is not signed with its own key")]
    Signature,
    /// The key is weak or unknown.
    #[error(
        "the key of a request is ECDSA on P-256 or P-384, or RSA of {FEWEST_BITS} bits or more"
    )]
    Key,
}

/// See the module.
#[derive(Debug)]
pub struct Request {
    pub(crate) public_key: SubjectPublicKeyInfo,
}

impl Request {
    /// Reads a request, and proves that the asker has the key.
    pub fn from_pem(pem: &str) -> Result<Self, RequestError> {
        if pem.len() > LONGEST {
            return Err(RequestError::Long);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| RequestError::Unreadable)?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Unreadable)?;
        if !rest.is_empty() {
            return Err(RequestError::Unreadable);
        }
        let key = &request.certification_request_info.subject_pki;
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() >= FEWEST_BITS => {}
            Ok(PublicKey::EC(_)) => {}
            _ => return Err(RequestError::Key),
        }
        let public_key = SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| RequestError::Key)?;
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        Ok(Self { public_key })
    }
}
