//! The mesh's TLS between two agents: mutual, by the certificates of the workloads at both ends.
//!
//! A connection to a pod of another node is dialled at [`form::PORT`] of the pod's own address, where
//! that node's agent ends its TLS. Which peers speak it, and as whom, follows from objects alone: what a
//! peer does on the wire never leads to plaintext.
//!
//! ```text
//! connect  a connection to a port of a pod
//! form     what is said inside: names, ports and answers; pure
//! verify   whether a certificate is that of a workload of the mesh
//! pool     connections of HBONE, which streams share
//! ```

pub(crate) mod connect;
pub(crate) mod form;
pub(crate) mod pool;
mod verify;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use agent_identity::{
    bundle::Bundle,
    life::Identities,
    spiffe::{SpiffeId, TrustDomains},
};
use agent_model::requests::MeshPeer;
use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{
    WorkloadId,
    peers::{MeshError, Peers},
    tls::Secured,
};
use pool::Tunnels;
use verify::{Clients, Servers};

/// Settings that are kept. Each pair of identities that speak has one; those of pods that left go.
const MOST_KEPT: usize = 4_096;

/// What is offered to other agents, of what is spoken inside the mesh's TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeshProtocol {
    /// One TLS connection for each connection, and HBONE to those that know nothing else.
    #[default]
    Direct,
    /// HBONE alone.
    Hbone,
}

/// See the module.
pub struct Mesh {
    identities: Identities,
    peers: Box<dyn Peers>,
    protocol: MeshProtocol,
    tunnels: Tunnels,
    provider: Arc<CryptoProvider>,
    clients: Mutex<HashMap<Pair, Kept<ClientConfig>>>,
    servers: Mutex<HashMap<SpiffeId, Kept<ServerConfig>>>,
}

/// Who speaks, and with whom.
type Pair = (SpiffeId, BTreeSet<String>);

/// As whom a workload speaks, and whom it believes.
struct Own {
    id: SpiffeId,
    certified: Arc<CertifiedKey>,
    bundle: Arc<Bundle>,
}

/// Settings, and what they were made from.
struct Kept<T> {
    certified: Arc<CertifiedKey>,
    bundle: Arc<Bundle>,
    config: Arc<T>,
}

impl<T> Kept<T> {
    fn new(own: &Own, config: &Arc<T>) -> Self {
        let (certified, bundle) = (Arc::clone(&own.certified), Arc::clone(&own.bundle));
        Self { certified, bundle, config: Arc::clone(config) }
    }

    fn is_of(&self, own: &Own) -> bool {
        Arc::ptr_eq(&self.certified, &own.certified) && Arc::ptr_eq(&self.bundle, &own.bundle)
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").finish_non_exhaustive()
    }
}

impl Mesh {
    /// With the certificates of this node's workloads.
    pub fn new(identities: Identities, peers: Box<dyn Peers>, protocol: MeshProtocol) -> Arc<Self> {
        let (clients, servers, tunnels) = (Mutex::default(), Mutex::default(), Tunnels::default());
        let provider = provider();
        Arc::new(Self { identities, peers, protocol, tunnels, provider, clients, servers })
    }

    /// The pod in the mesh that has an address.
    pub(crate) fn peer(&self, at: IpAddr) -> Option<MeshPeer> {
        self.peers.at(at)
    }

    /// What a connection to a port of a pod needs, whose certificate has to name one of the expected
    /// identities.
    fn client(
        &self,
        own: &Own,
        expected: &BTreeSet<String>,
        port: u16,
    ) -> Result<Secured, MeshError> {
        let name =
            ServerName::try_from(form::server_name(port)).map_err(|_| MeshError::Unusable)?;
        let key = (own.id.clone(), expected.clone());
        let mut kept = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&key).filter(|known| known.is_of(own)) {
            return Ok(Secured::Client { config: Arc::clone(&known.config), name });
        }
        let config = Arc::new(self.client_config(own, expected)?);
        make_room(&mut kept);
        kept.insert(key, Kept::new(own, &config));
        Ok(Secured::Client { config, name })
    }

    /// What a connection needs that was accepted for a workload.
    pub(crate) async fn server(&self, of: WorkloadId) -> Result<Secured, MeshError> {
        let own = self.own(of).await?;
        let mut kept = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&own.id).filter(|known| known.is_of(&own)) {
            return Ok(Secured::Server(Arc::clone(&known.config)));
        }
        let config = Arc::new(self.server_config(&own)?);
        make_room(&mut kept);
        kept.insert(own.id.clone(), Kept::new(&own, &config));
        Ok(Secured::Server(config))
    }

    /// As whom a workload speaks, and whom it believes.
    async fn own(&self, workload: WorkloadId) -> Result<Own, MeshError> {
        let id = self.peers.own(workload).ok_or(MeshError::Nameless)?;
        let certified = self.identities.certified(&id).await?;
        let bundle = Arc::clone(&self.identities.bundle().borrow());
        Ok(Own { id, certified, bundle })
    }

    fn client_config(
        &self,
        own: &Own,
        expected: &BTreeSet<String>,
    ) -> Result<ClientConfig, MeshError> {
        let verifier = Servers {
            bundle: Arc::clone(&own.bundle),
            domains: domains(&own.id),
            expected: expected.clone(),
            provider: Arc::clone(&self.provider),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|_| MeshError::Unusable)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let shown = Shown(Arc::clone(&own.certified));
        let mut config = builder.with_client_cert_resolver(Arc::new(shown));
        config.alpn_protocols = form::offered(self.protocol);
        // A resumed session would not look at certificates again.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn server_config(&self, own: &Own) -> Result<ServerConfig, MeshError> {
        let verifier = Clients {
            bundle: Arc::clone(&own.bundle),
            domains: domains(&own.id),
            provider: Arc::clone(&self.provider),
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|_| MeshError::Unusable)?;
        let builder = builder.with_client_cert_verifier(Arc::new(verifier));
        let shown = Shown(Arc::clone(&own.certified));
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = form::offered(MeshProtocol::Direct);
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// Whose certificates are believed.
fn domains(own: &SpiffeId) -> TrustDomains {
    TrustDomains::new(own.trust_domain().clone(), Vec::new())
}

fn make_room<K, T>(kept: &mut HashMap<K, Kept<T>>) {
    if kept.len() >= MOST_KEPT {
        kept.clear();
    }
}

/// The suites that ztunnel speaks too.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    ];
    Arc::new(provider)
}

/// A certificate that is shown to those who ask in a way that is known here.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_direct = hello.alpn().is_some_and(|mut all| all.any(|one| one == form::DIRECT));
        let has_port = || hello.server_name().is_some_and(|name| form::port(name).is_some());
        (!is_direct || has_port()).then(|| Arc::clone(&self.0))
    }
}
