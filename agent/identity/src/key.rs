//! Private keys: one made here for each certificate, and that of an authority in whatever form it comes.
//!
//! The bytes are zeroised when the last owner goes, and no form of a key is ever printed.

use std::{fmt, sync::Arc};

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PublicKeyData, SanType, SignatureAlgorithm,
    SubjectPublicKeyInfo,
};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::spiffe::SpiffeId;

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None could be made.
    #[error("no key can be made: the kernel gives no random bytes")]
    Generate,
    /// The text has none.
    #[error("there is no private key in PEM form (PKCS#8, PKCS#1 or SEC 1)")]
    Unreadable,
    /// It is one that nothing here signs with.
    #[error(
        "the key is neither ECDSA on P-256 or P-384, nor RSA of 2048 bits or more, nor Ed25519"
    )]
    Unsupported,
    /// It does not sign.
    #[error("the key cannot sign")]
    Sign,
}

/// A private key.
#[derive(Clone)]
pub struct Key {
    signing: Arc<dyn SigningKey>,
    public: SubjectPublicKeyInfo,
    /// As it is kept: none of an authority's key, which is not ours to keep.
    pkcs8: Option<Arc<Zeroizing<Vec<u8>>>>,
}

impl Key {
    /// A new key on P-256.
    pub fn generate() -> Result<Self, KeyError> {
        let mut pair = KeyPair::generate().map_err(|_| KeyError::Generate)?;
        let bytes = Zeroizing::new(pair.serialized_der().to_vec());
        pair.zeroize();
        Self::from_pkcs8(bytes)
    }

    /// A key that was kept.
    pub fn from_pkcs8(bytes: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let private = PrivateKeyDer::Pkcs8(bytes.as_slice().into());
        let mut key = Self::of(&private)?;
        key.pkcs8 = Some(Arc::new(bytes));
        Ok(key)
    }

    /// The first key of a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let mut private = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::Unreadable)?;
        let key = Self::of(&private);
        private.zeroize();
        key
    }

    fn of(private: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let signing = any_supported_type(private).map_err(|_| KeyError::Unsupported)?;
        let public = signing.public_key().ok_or(KeyError::Unsupported)?;
        let public = SubjectPublicKeyInfo::from_der(&public).map_err(|_| KeyError::Unsupported)?;
        let key = Self { signing, public, pkcs8: None };
        key.scheme().ok_or(KeyError::Unsupported)?;
        Ok(key)
    }

    /// Its public half with the algorithm, DER: as certificates have it.
    pub fn public_key(&self) -> Vec<u8> {
        self.public.subject_public_key_info()
    }

    /// What TLS signs with.
    pub fn signing(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.signing)
    }

    /// The key in PKCS#8, of one that may be kept.
    pub(crate) fn pkcs8(&self) -> Option<&[u8]> {
        self.pkcs8.as_deref().map(|bytes| bytes.as_slice())
    }

    /// A request for a certificate with one name and no subject, PEM.
    pub fn request(&self, id: &SpiffeId) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = id.to_string().try_into().map_err(|_| KeyError::Sign)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let request = params.serialize_request(self).map_err(|_| KeyError::Sign)?;
        request.pem().map_err(|_| KeyError::Sign)
    }

    /// The one way in which it signs certificates.
    fn scheme(&self) -> Option<SignatureScheme> {
        let of = |algorithm: &SignatureAlgorithm| *self.public.algorithm() == *algorithm;
        let known = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, SignatureScheme::ECDSA_NISTP384_SHA384),
            (&rcgen::PKCS_RSA_SHA256, SignatureScheme::RSA_PKCS1_SHA256),
            (&rcgen::PKCS_ED25519, SignatureScheme::ED25519),
        ];
        known.into_iter().find(|(algorithm, _)| of(algorithm)).map(|(_, scheme)| scheme)
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.scheme().and_then(|scheme| self.signing.choose_scheme(&[scheme]));
        let signer = signer.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_prints_itself() {
        let key = Key::generate().unwrap();
        assert_eq!(format!("{key:?}"), "Key");
        let again = Key::from_pkcs8(Zeroizing::new(key.pkcs8().unwrap().to_vec())).unwrap();
        assert_eq!(again.public_key(), key.public_key());
    }
}
