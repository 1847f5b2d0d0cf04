//! TLS and HTTP/2 around the desk. The server's certificate is signed by the CA itself, and made again
//! while it runs.

use std::{
    convert::Infallible,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use agent_base::lock::lock;
use agent_identity::{key::Key, signer::Signer};
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _},
    stream,
};
use http::{HeaderValue, Response};
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{
    Request, Status,
    body::Body,
    metadata::MetadataValue,
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::Connected},
};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::{
    desk::Desk,
    wire::{self, METHOD, SERVICE, TIME},
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many are made at once.
const HANDSHAKES: usize = 256;
/// How often the server's certificate is made again.
const RENEWED: Duration = Duration::from_mins(30);
/// How soon the next connection is accepted after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The most bytes of a request.
const LONGEST: usize = 64 * 1024;

/// The certificate that the server shows. It is made when a client comes, and again after a while or
/// once the CA signs with another key.
#[derive(Debug)]
struct Shown {
    name: String,
    desk: Arc<Desk>,
    latest: Mutex<Option<Latest>>,
}

#[derive(Debug)]
struct Latest {
    signer: Arc<Signer>,
    made: Instant,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signer = self.desk.keys.current().ok()?;
        let mut latest = lock(&self.latest);
        if let Some(Latest { signer: of, made, certified }) = &*latest
            && Arc::ptr_eq(of, &signer)
            && made.elapsed() < RENEWED
        {
            return Some(Arc::clone(certified));
        }
        let key = Key::generate().ok()?;
        let chain = signer.serve(&key, &self.name, Timestamp::now()).ok()?;
        let certified = Arc::new(CertifiedKey::new(chain, key.signing()));
        let made = Instant::now();
        *latest = Some(Latest { signer, made, certified: Arc::clone(&certified) });
        Some(certified)
    }
}

/// Serves on a listener under a DNS name, as long as the future lives.
pub async fn serve(listener: TcpListener, name: String, desk: Arc<Desk>) -> io::Result<()> {
    let shown = Shown { name, desk: Arc::clone(&desk), latest: Mutex::default() };
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(io::Error::other)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .timeout(HANDSHAKE)
        .add_service(Endpoint(desk))
        .serve_with_incoming(connections(listener, acceptor))
        .await
        .map_err(io::Error::other)
}

/// Connections after their handshakes. One that fails ends itself and no other.
fn connections(
    listener: TcpListener,
    acceptor: TlsAcceptor,
) -> impl futures_util::Stream<Item = io::Result<Secured>> {
    let accepted = stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, listener)),
                // A process that has no descriptors left gets some back in a moment.
                Err(error) => {
                    tracing::warn!(%error, "a connection is not accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    });
    accepted
        .map(move |stream| {
            let acceptor = acceptor.clone();
            async move { timeout(HANDSHAKE, acceptor.accept(stream)).await.ok()?.ok() }
        })
        .buffer_unordered(HANDSHAKES)
        .filter_map(|stream| std::future::ready(stream.map(|stream| Ok(Secured(stream)))))
}

/// A connection over TLS, of which tonic need not know more.
#[derive(Debug)]
struct Secured(TlsStream<TcpStream>);

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The service, as a code generator would write it.
#[derive(Clone, Debug)]
struct Endpoint(Arc<Desk>);

impl NamedService for Endpoint {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Endpoint {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != METHOD {
            return std::future::ready(Ok(Status::unimplemented("no such method").into_http()))
                .boxed();
        }
        let create = Create(Arc::clone(&self.0));
        async move {
            let codec = ProstCodec::<wire::Answer, wire::Request>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LONGEST);
            let mut response = grpc.unary(create, request).await;
            // Also a refusal tells the time.
            if let Ok(now) = HeaderValue::try_from(Timestamp::now().to_string()) {
                response.headers_mut().insert(TIME, now);
            }
            Ok(response)
        }
        .boxed()
    }
}

struct Create(Arc<Desk>);

impl fmt::Debug for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Create")
    }
}

impl UnaryService<wire::Request> for Create {
    type Response = wire::Answer;
    type Future = BoxFuture<'static, Result<tonic::Response<wire::Answer>, Status>>;

    fn call(&mut self, request: Request<wire::Request>) -> Self::Future {
        let desk = Arc::clone(&self.0);
        async move {
            let bearer = request.metadata().get("authorization").map(MetadataValue::to_str);
            let bearer = bearer.and_then(Result::ok).and_then(|text| text.strip_prefix("Bearer "));
            let answer = desk.answer(bearer, request.get_ref()).await?;
            Ok(tonic::Response::new(answer))
        }
        .boxed()
    }
}
