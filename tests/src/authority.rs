//! An authority that signs certificates, good ones and bad ones, for the TLS of a test.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

/// See the module.
#[derive(Debug)]
pub struct Authority {
    own: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
    der: (CertificateDer<'static>, Vec<u8>),
}

/// What is special about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Good,
    /// Its time is over.
    Expired,
}

impl Authority {
    /// One with a name.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let own = params.self_signed(&key)?;
        Ok(Self { own, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.own.pem()
    }

    /// Its key, in PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for some names: of DNS, IPs, or URIs.
    pub fn sign(&self, names: &[&str], kind: Kind) -> Result<Signed> {
        let (uris, names): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains("://"));
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names.clone())?;
        for uri in uris {
            params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into()?));
        }
        params.distinguished_name.push(DnType::CommonName, names.join(" "));
        params.not_before = date_time_ymd(2020, 1, 1);
        if kind == Kind::Expired {
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: (certificate.der().clone(), key.serialize_der()),
        })
    }
}

impl Signed {
    /// A server with it, which asks for certificates of an authority if one is given.
    pub fn server(&self, clients: Option<&Authority>) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.own.der().clone())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let (chain, key) = (vec![self.der.0.clone()], PrivatePkcs8KeyDer::from(self.der.1.clone()));
        let mut config = builder.with_single_cert(chain, PrivateKeyDer::Pkcs8(key))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Writes a file whole, and the folders that it needs.
pub fn put(path: &std::path::Path, content: &str) -> Result<()> {
    let folder = path.parent().context("a folder")?;
    std::fs::create_dir_all(folder)?;
    let draft = folder.join(".draft");
    std::fs::write(&draft, content)?;
    std::fs::rename(draft, path).with_context(|| path.display().to_string())
}
