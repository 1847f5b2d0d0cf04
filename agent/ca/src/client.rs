//! Asks a CA for certificates, with the token of the agent's own pod.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use agent_base::error::chain;
use agent_identity::{
    bundle::Bundle,
    leaf::Answer,
    life::{Authority, FetchError, Identities, roots},
    spiffe::SpiffeId,
};
use futures_util::future::{BoxFuture, FutureExt as _};
use http::{HeaderValue, Uri, uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::wire::{self, CLUSTER, METHOD, TIME};

/// How long a connection to the CA may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which CA, and how to reach it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HOST:PORT`, where the host is in its certificate.
    pub address: String,
    /// The file with the token, which the kubelet renews.
    pub token: PathBuf,
    /// The file with the mesh's roots.
    pub roots: PathBuf,
    /// How long a certificate is to live.
    pub ttl: SignedDuration,
}

/// See the module.
pub struct Client {
    settings: Settings,
    bundle: watch::Receiver<Arc<Bundle>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that believes what the identities believe.
    pub fn new(settings: Settings, identities: &Identities) -> Self {
        Self { settings, bundle: identities.bundle() }
    }

    async fn ask(&self, id: SpiffeId, csr: String) -> Result<Answer, FetchError> {
        let away =
            |what: &str, error: &dyn fmt::Display| FetchError::Away(format!("{what}: {error}"));
        let token = tokio::fs::read_to_string(&self.settings.token).await;
        let path = self.settings.token.display().to_string();
        let token = token.map_err(|error| away(&path, &error))?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut bearer = bearer.map_err(|_| away(&path, &"it has no token"))?;
        bearer.set_sensitive(true);
        let channel = self.connect().await?;
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.map_err(|error| away(&self.settings.address, &error))?;
        let message = wire::Request::new(csr, self.settings.ttl.as_secs(), &id.to_string());
        let mut request = Request::new(message);
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, bearer);
        headers.insert(CLUSTER.0, HeaderValue::from_static(CLUSTER.1));
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
        request.set_timeout(PATIENCE);
        let codec = ProstCodec::<wire::Request, wire::Answer>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(METHOD), codec).await;
        let answer = answer.map_err(|status| refused(&status))?;
        let time = answer.metadata().get(TIME).and_then(|time| time.to_str().ok()?.parse().ok());
        let mut texts = answer.into_inner().cert_chain;
        // The last are the roots; those that are believed come from another place.
        texts.truncate(texts.len().saturating_sub(1).max(1));
        let certificates: Result<Vec<_>, _> =
            texts.iter().flat_map(|text| CertificateDer::pem_slice_iter(text.as_bytes())).collect();
        let no_pem = |_| FetchError::Refused("its answer is no PEM".to_owned());
        let chain = certificates.map_err(no_pem)?;
        Ok(Answer { chain, time })
    }

    async fn connect(&self) -> Result<Channel, FetchError> {
        let address = self.settings.address.clone();
        let away = |error: &dyn fmt::Display| FetchError::Away(format!("{address}: {error}"));
        let bundle = Arc::clone(&self.bundle.borrow());
        if bundle.is_empty() {
            return Err(FetchError::NoRoots);
        }
        let uri: Uri = format!("http://{address}").parse().map_err(|error| away(&error))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| away(&error))?;
        let tls = TlsConnector::from(Arc::new(config(&bundle).map_err(|error| away(&error))?));
        let dialled = self.settings.address.clone();
        let connector = service_fn(move |_: Uri| dial(dialled.clone(), name.clone(), tls.clone()));
        let endpoint = Endpoint::from(uri).connect_timeout(PATIENCE);
        let connected = endpoint.connect_with_connector(connector).await;
        connected.map_err(|error| away(&chain(&error)))
    }
}

async fn dial(
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(tls.connect(name, stream).await?))
}

fn config(bundle: &Bundle) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(bundle.roots().cloned());
    let provider = Arc::new(default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A status as the agent tells it. What may pass by itself is no refusal.
fn refused(status: &Status) -> FetchError {
    let message = status.message().to_owned();
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            FetchError::Away(message)
        }
        code => FetchError::Refused(format!("{message} ({code:?})")),
    }
}

impl Authority for Client {
    fn sign(&self, id: SpiffeId, request: String) -> BoxFuture<'_, Result<Answer, FetchError>> {
        self.ask(id, request).boxed()
    }
}

/// Has agents trust the roots in a file, as long as the future lives.
pub async fn follow_roots(path: PathBuf, identities: Identities) {
    let read = || async {
        let text = tokio::fs::read(&path).await.map_err(|error| error.to_string())?;
        Bundle::from_pem(&text).map_err(|error| error.to_string())
    };
    let failed = |error: &str| {
        tracing::warn!(path = %path.display(), error, "the mesh's roots cannot be read");
    };
    roots::follow(identities, read, failed).await;
}
