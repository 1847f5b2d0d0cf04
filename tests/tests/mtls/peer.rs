//! Another agent, as ztunnel is one: HTTP/2 over TLS 1.3 without a server name, with a certificate of the
//! test's making, from a host of another node.

use std::{
    net::{SocketAddr, TcpStream as StdStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use h2::client;
use http::{Method, Request, StatusCode};
use rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use sekisho_tests::{authority::Signed, pod::http::Anyone, world::Host};
use tokio::{net::TcpStream, runtime::Builder, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks an agent for a connection, and speaks HTTP/1 on it where there is one. Says the status, and what
/// was answered.
pub(crate) fn connect(
    from: &Host,
    (agent, shown): (SocketAddr, Option<&Signed>),
    (method, authority): (Method, &str),
) -> Result<(StatusCode, String)> {
    let stream = from.netns().enter(|| Ok(StdStream::connect_timeout(&agent, PATIENCE)?))?;
    stream.set_nonblocking(true)?;
    let config = config(shown)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = ask(TcpStream::from_std(stream)?, config, (method, authority));
        timeout(PATIENCE, asked).await.context("no answer")?
    })
}

async fn ask(
    stream: TcpStream,
    config: ClientConfig,
    (method, authority): (Method, &str),
) -> Result<(StatusCode, String)> {
    let name = ServerName::from(stream.peer_addr()?.ip());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "another protocol");
    let (send, connection) = client::handshake(stream).await?;
    let mut driven = JoinSet::new();
    driven.spawn(connection);
    let mut send = send.ready().await?;
    let uri = if method == Method::CONNECT {
        authority.parse()?
    } else {
        format!("https://{authority}/").parse()?
    };
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let (response, mut body) = send.send_request(request, false)?;
    let answer = response.await?;
    let status = answer.status();
    let mut said = Vec::new();
    if status == StatusCode::OK {
        body.send_data(Bytes::from_static(b"GET / HTTP/1.0\r\n\r\n"), true)?;
        let mut received = answer.into_body();
        while let Some(data) = received.data().await {
            let data = data?;
            received.flow_control().release_capacity(data.len())?;
            said.extend_from_slice(&data);
        }
    }
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

fn config(shown: Option<&Signed>) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(Signed { certificate, key, .. }) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    Ok(config)
}
