//! From what an object says of TLS, and its files, to what a connection needs. It is kept as long as
//! every file is the one that it was made from, which is looked at before each connection.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use agent_model::requests::policy::{Certificate, OwnTls, Trust};
use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, pem::PemObject,
    },
};
use thiserror::Error;

use crate::peers::MeshError;

use super::{
    session::Secured,
    verify::{AnyOf, Anyone},
};

/// Settings that are kept. Objects state few different ones; those of a churn of objects go.
const MOST_KEPT: usize = 256;

/// What tells whether a file is still the same: it differs from what it was when the content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was changed, in nanoseconds since 1970.
    pub changed: i128,
    /// How long it is.
    pub length: u64,
    /// Which it is: a link to another file changes this.
    pub number: u64,
}

/// Files that objects of a namespace name.
pub trait Files: Send + Sync {
    /// What tells whether it has changed.
    fn stamp(&self, namespace: &str, path: &str) -> io::Result<Stamp>;

    /// Its content.
    fn read(&self, namespace: &str, path: &str) -> io::Result<Vec<u8>>;

    /// Whom the system believes.
    fn roots(&self) -> Vec<CertificateDer<'static>>;
}

/// Why TLS cannot be spoken as an object wants it.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {what} in PEM")]
    Empty {
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
    },
    /// The system believes no authority.
    #[error("the system has no certificates of authorities: set caCertificates")]
    NoRoots,
    /// What was read cannot be used.
    #[error("the certificates cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is named is not read here.
    #[error("certificates from {what} are not read here yet")]
    NotRead {
        /// Where they are.
        what: &'static str,
    },
    /// The mesh's own.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// Nothing says under which name the server is asked for.
    #[error("{name:?} is no name of a server: set sni and subjectAltNames")]
    NoName {
        /// What stands in its place.
        name: String,
    },
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Speaks {
    /// Whatever the client and the server say.
    Bytes,
    Http1,
    Http2,
}

impl Speaks {
    /// Its names for ALPN.
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Bytes => Vec::new(),
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
        }
    }
}

/// The TLS of a node's proxy: settings that are in use.
pub struct Tls {
    files: Box<dyn Files>,
    provider: Arc<CryptoProvider>,
    kept: Mutex<HashMap<Key, Kept>>,
}

type Key = (OwnTls, Speaks);

struct Kept {
    config: Arc<ClientConfig>,
    files: Vec<(String, Stamp)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// With files to read.
    pub fn new(files: Box<dyn Files>) -> Arc<Self> {
        let provider = Arc::new(ring::default_provider());
        Arc::new(Self { files, provider, kept: Mutex::default() })
    }

    /// What a connection needs: its settings, and the server's name.
    pub(crate) fn client(
        &self,
        own: &OwnTls,
        speaks: Speaks,
        name: &str,
    ) -> Result<Secured, TlsError> {
        let no_name = |_| TlsError::NoName { name: name.to_owned() };
        let name = ServerName::try_from(name.to_owned()).map_err(no_name)?;
        Ok(Secured::Client { config: self.config(own, speaks)?, name })
    }

    fn config(&self, own: &OwnTls, speaks: Speaks) -> Result<Arc<ClientConfig>, TlsError> {
        let key = (own.clone(), speaks);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&key)
            && known.files.iter().all(|(path, before)| {
                self.files.stamp(&own.namespace, path).is_ok_and(|now| now == *before)
            })
        {
            return Ok(Arc::clone(&known.config));
        }
        kept.remove(&key);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        let mut reading = Reading { files: &*self.files, of: own, read: Vec::new() };
        let config = Arc::new(reading.config(&self.provider, speaks)?);
        kept.insert(key, Kept { config: Arc::clone(&config), files: reading.read });
        Ok(config)
    }
}

/// Settings in the making, and which files they are made from.
struct Reading<'a> {
    files: &'a dyn Files,
    of: &'a OwnTls,
    read: Vec<(String, Stamp)>,
}

impl Reading<'_> {
    fn config(
        &mut self,
        provider: &Arc<CryptoProvider>,
        speaks: Speaks,
    ) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
        let builder = builder.dangerous();
        let builder = if self.of.verify {
            let chain = self.chain(provider)?;
            let names = self.of.names.clone();
            builder.with_custom_certificate_verifier(Arc::new(AnyOf { chain, names }))
        } else {
            builder.with_custom_certificate_verifier(Arc::new(Anyone(Arc::clone(provider))))
        };
        let mut config = match &self.of.certificate {
            None => builder.with_no_client_auth(),
            Some(Certificate::Files(chain, key)) => {
                let chain = self.certificates(chain)?;
                let key = self.key(key)?;
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
            Some(Certificate::Secret(_)) => return Err(TlsError::NotRead { what: "a Secret" }),
            Some(Certificate::Elsewhere(_)) => return Err(TlsError::NotRead { what: "AWS" }),
        };
        config.alpn_protocols = speaks.protocols();
        Ok(config)
    }

    /// Who is believed.
    fn chain(
        &mut self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut revoked = Vec::new();
        match &self.of.trust {
            Trust::System => {
                // One that is odd must not take the others along.
                roots.add_parsable_certificates(self.files.roots());
                if roots.is_empty() {
                    return Err(TlsError::NoRoots);
                }
            }
            Trust::File(path, lists) => {
                for one in self.certificates(path)? {
                    roots.add(one).map_err(unusable)?;
                }
                if let Some(lists) = lists {
                    let what = "list of revoked certificates";
                    revoked = self.all::<CertificateRevocationListDer<'static>>(lists, what)?;
                }
            }
            Trust::Secret(_) => return Err(TlsError::NotRead { what: "a Secret" }),
            Trust::Elsewhere(_) => return Err(TlsError::NotRead { what: "AWS" }),
        }
        let provider = Arc::clone(provider);
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_crls(revoked).build().map_err(unusable)
    }

    fn certificates(&mut self, path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.all(path, "certificate")
    }

    fn key(&mut self, path: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
        let content = self.file(path)?;
        PrivateKeyDer::from_pem_slice(&content)
            .map_err(|_| TlsError::Empty { path: path.to_owned(), what: "private key" })
    }

    /// All that a file holds of a kind; nothing is an error.
    fn all<T: PemObject>(&mut self, path: &str, what: &'static str) -> Result<Vec<T>, TlsError> {
        let content = self.file(path)?;
        let all = T::pem_slice_iter(&content).collect::<Result<Vec<T>, _>>();
        let empty = || TlsError::Empty { path: path.to_owned(), what };
        all.ok().filter(|all| !all.is_empty()).ok_or_else(empty)
    }

    fn file(&mut self, path: &str) -> Result<Vec<u8>, TlsError> {
        let unread = |source| TlsError::File { path: path.to_owned(), source };
        // The stamp comes first: a file that changes meanwhile is read once more.
        let stamp = self.files.stamp(&self.of.namespace, path).map_err(unread)?;
        let content = self.files.read(&self.of.namespace, path).map_err(unread)?;
        self.read.push((path.to_owned(), stamp));
        Ok(content)
    }
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> TlsError {
    TlsError::Unusable(Box::new(error))
}
