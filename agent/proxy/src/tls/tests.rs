//! Settings from files, and files that change. What is spoken is in the tests of the whole path.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use agent_model::requests::policy::{Certificate, OwnTls, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::*;

fn of_client(how: Secured) -> Arc<ClientConfig> {
    match how {
        Secured::Client { config, .. } => config,
        Secured::Server(_) => panic!("it is a client's"),
    }
}

/// Files of a test, and how often each was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct InMemory(Arc<Mutex<ByPath>>);

/// Contents and versions by path.
type ByPath = BTreeMap<String, (Vec<u8>, u64)>;

impl InMemory {
    pub(crate) fn put(&self, path: &str, content: &str) {
        let mut all = self.0.lock().unwrap();
        let file = all.entry(path.to_owned()).or_default();
        *file = (content.as_bytes().to_vec(), file.1 + 1);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().remove(path);
    }
}

impl Files for InMemory {
    fn stamp(&self, namespace: &str, path: &str) -> io::Result<Stamp> {
        assert_eq!(namespace, "shop");
        let all = self.0.lock().unwrap();
        let (content, written) = all.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Stamp { changed: 0, length: content.len() as u64, number: *written })
    }

    fn read(&self, _: &str, path: &str) -> io::Result<Vec<u8>> {
        let all = self.0.lock().unwrap();
        Ok(all.get(path).ok_or(io::ErrorKind::NotFound)?.0.clone())
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }
}

/// An authority.
pub(crate) struct Authority {
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Signed {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()))
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let (pem, der) = (own.pem(), own.der().clone());
        Self { pem, der, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a name of DNS or an IP, with a change.
    pub(crate) fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }
}

/// What an object says that trusts the authority in `ca`.
pub(crate) fn simple() -> OwnTls {
    OwnTls {
        namespace: "shop".to_owned(),
        trust: Trust::File("ca".to_owned(), None),
        verify: true,
        names: Vec::new(),
        server_name: None,
        certificate: None,
    }
}

#[test]
fn settings_are_kept_until_a_file_changes_and_not_longer() {
    let files = InMemory::default();
    let tls = Tls::new(Box::new(files.clone()));
    let config = || tls.client(&simple(), Speaks::Http1, "a.example").map(of_client);
    assert!(matches!(config(), Err(TlsError::File { .. })));
    files.put("ca", &Authority::new().pem);
    let first = config().unwrap();
    assert!(Arc::ptr_eq(&first, &config().unwrap()));
    files.put("ca", &Authority::new().pem);
    let second = config().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    // What was right before does not stand in for what is not.
    files.put("ca", "no PEM");
    assert!(matches!(config(), Err(TlsError::Empty { .. })));
    files.remove("ca");
    assert!(matches!(config(), Err(TlsError::File { .. })));
}

#[test]
fn what_cannot_be_had_is_an_error_and_never_less_tls() {
    let (files, authority) = (InMemory::default(), Authority::new());
    files.put("ca", &authority.pem);
    let (one, other) = (authority.sign("one", |_| {}), authority.sign("other", |_| {}));
    files.put("crt", &one.certificate);
    files.put("other-key", &other.key);
    let tls = Tls::new(Box::new(files));
    let pair = |key: &str| Some(Certificate::Files("crt".to_owned(), key.to_owned()));
    let trust = |trust| OwnTls { trust, ..simple() };
    for own in [
        trust(Trust::System),
        trust(Trust::Secret("any".to_owned())),
        trust(Trust::Elsewhere(vec!["arn".to_owned()])),
        trust(Trust::File("ca".to_owned(), Some("no-list".to_owned()))),
        OwnTls { certificate: pair("no-key"), ..simple() },
        OwnTls { certificate: pair("other-key"), ..simple() },
        OwnTls { certificate: Some(Certificate::Secret("any".to_owned())), ..simple() },
    ] {
        assert!(tls.client(&own, Speaks::Bytes, "a.example").is_err(), "{own:?}");
    }
    for name in ["", "*.example.com", "a b"] {
        let found = tls.client(&simple(), Speaks::Bytes, name);
        assert!(matches!(found, Err(TlsError::NoName { .. })), "{name}");
    }
}
