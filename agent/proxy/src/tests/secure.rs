//! TLS towards destinations, with real servers of it.

use std::sync::Arc;

use agent_model::{
    requests::{
        backend::{Backend, Target, Weighted},
        change::HeaderChanges,
        outbound::{Listener, Outbound, Port, StreamRoute},
        policy::{Certificate, ClientTls, OwnTls, Trust},
    },
    resource::protocol::AppProtocol,
};
use rcgen::{CertificateParams, SanType, date_time_ymd};
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    rig::{Answers, Rig, end_of, soon},
    talk::{FINE, say},
    way::{backend_of, forward},
};
use crate::{
    Flag,
    tls::tests::{Authority, InMemory, Signed, simple},
};

/// A server of TLS, and whose certificates it asks for.
fn server(with: &Signed, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![with.der.clone()], with.key()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// A rig whose destination asks for TLS; for requests, or for what is carried as bytes.
async fn rig(protocol: AppProtocol, files: &InMemory, own: OwnTls) -> Rig {
    let answers = Answers { files: files.clone(), ..Answers::allow() };
    let slot = Arc::clone(&answers.outbound);
    let rig = Rig::new(answers).await;
    let addr = rig.upstream.local_addr().unwrap();
    let backend: Arc<Backend> =
        backend_of(protocol, &[addr], |policy| policy.tls = ClientTls::Own(own));
    let any = if protocol == AppProtocol::Tcp {
        let headers = HeaderChanges::default();
        let target = Target::Backend(backend);
        let to = vec![Weighted { weight: 1, target, headers, answer_within: None }];
        let tcp = Some(Arc::new(StreamRoute { names: [].into(), to, idle: None }));
        Listener { tcp, ..Listener::default() }
    } else {
        super::way::listener(forward(Target::Backend(backend)))
    };
    let port = Port { any, ..Port::default() };
    let outbound = Outbound { ports: [(addr.port(), Arc::new(port))].into() };
    *slot.lock().unwrap() = Some(Arc::new(outbound));
    rig
}

async fn accept(rig: &Rig, acceptor: &TlsAcceptor) -> std::io::Result<TlsStream<TcpStream>> {
    let (stream, _) = soon(rig.upstream.accept()).await.unwrap();
    soon(acceptor.accept(stream)).await
}

const GET: &str = "GET /old HTTP/1.1\r\nHost: reviews:80\r\n\r\n";

/// Reads a head from inside of TLS.
async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_ne!(soon(stream.read_buf(&mut bytes)).await.unwrap(), 0, "the end");
    }
    String::from_utf8(bytes).unwrap()
}

async fn status(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        assert_ne!(soon(client.read_buf(&mut bytes)).await.unwrap(), 0, "the end");
    }
    String::from_utf8_lossy(&bytes)[9..12].to_owned()
}

fn trusted() -> (InMemory, Authority) {
    let (files, authority) = (InMemory::default(), Authority::new());
    files.put("ca", &authority.pem);
    (files, authority)
}

#[tokio::test]
async fn requests_share_a_connection_with_tls_that_is_for_their_host() {
    let (files, authority) = trusted();
    let acceptor = server(&authority.sign("reviews", |_| {}), None);
    let rig = rig(AppProtocol::Http, &files, simple()).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let mut upstream = accept(&rig, &acceptor).await.unwrap();
    for again in [false, true] {
        if again {
            say(&mut client, GET).await;
        }
        assert!(head(&mut upstream).await.starts_with("GET /new HTTP/1.1"));
        upstream.write_all(FINE.as_bytes()).await.unwrap();
        upstream.flush().await.unwrap();
        assert_eq!(status(&mut client).await, "200");
    }
    let agreed = upstream.get_ref().1;
    assert_eq!(agreed.server_name(), Some("reviews"));
    assert_eq!(agreed.alpn_protocol(), Some(&b"http/1.1"[..]));
    say(&mut client, &GET.replace("reviews:80", "REVIEWS")).await;
    assert!(head(&mut upstream).await.starts_with("GET /new"), "the same name in another case");
}

#[tokio::test]
async fn a_certificate_that_is_wrong_is_a_503_with_its_reason_and_nothing_is_sent() {
    let (files, authority) = trusted();
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let names = |names: &[&str]| names.iter().map(|one| (*one).to_owned()).collect();
    for (signed, own, reason) in [
        (authority.sign("reviews", expired), simple(), "expired"),
        (authority.sign("ratings", |_| {}), simple(), "not valid for name"),
        // Another authority under the same name.
        (Authority::new().sign("reviews", |_| {}), simple(), "BadSignature"),
        (
            authority.sign("reviews", |_| {}),
            OwnTls { names: names(&["spiffe://a/b", "other"]), ..simple() },
            "not valid for name",
        ),
    ] {
        let acceptor = server(&signed, None);
        let mut rig = rig(AppProtocol::Http, &files, own).await;
        let mut client = rig.dial().await;
        say(&mut client, GET).await;
        // By default a connection that fails is tried again: nothing was sent.
        let told = async {
            loop {
                assert!(accept(&rig, &acceptor).await.is_err(), "{reason}");
            }
        };
        tokio::select! {
            () = told => {}
            status = status(&mut client) => assert_eq!(status, "503"),
        }
        let told = rig.exchanged().await;
        assert!(told.flags.has(Flag::UpstreamConnectionFailure), "{told:?}");
        let error = std::error::Error::source(&*told.error.unwrap()).unwrap().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[tokio::test]
async fn one_of_the_names_that_an_object_states_is_enough() {
    let (files, authority) = trusted();
    let uri = |params: &mut CertificateParams| {
        params.subject_alt_names.push(SanType::URI("spiffe://a/b".try_into().unwrap()));
    };
    let names = |name: &str| vec!["nobody".to_owned(), name.to_owned()];
    for own in [
        OwnTls { names: names("spiffe://a/b"), ..simple() },
        OwnTls { names: names("api.example.com"), ..simple() },
        OwnTls { server_name: Some("api.example.com".to_owned()), ..simple() },
        OwnTls { verify: false, trust: Trust::File("none".to_owned(), None), ..simple() },
    ] {
        let acceptor = server(&authority.sign("*.example.com", uri), None);
        let wanted = own.server_name.clone().unwrap_or_else(|| "reviews".to_owned());
        let rig = rig(AppProtocol::Http, &files, own).await;
        let mut client = rig.dial().await;
        say(&mut client, GET).await;
        let mut upstream = accept(&rig, &acceptor).await.unwrap();
        head(&mut upstream).await;
        assert_eq!(upstream.get_ref().1.server_name(), Some(wanted.as_str()));
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_read_again_when_its_file_changes() {
    let (files, authority) = trusted();
    let clients = Authority::new();
    let acceptor = server(&authority.sign("reviews", |_| {}), Some(&clients));
    let certificate = Some(Certificate::Files("crt".to_owned(), "key".to_owned()));
    let own = OwnTls { certificate, ..simple() };
    let mut rig = rig(AppProtocol::Http, &files, own).await;
    let mut ask = async |authority: Option<&Authority>| {
        let pair = authority.map(|one| one.sign("client", |_| {}));
        if let Some(pair) = &pair {
            files.put("crt", &pair.certificate);
            files.put("key", &pair.key);
        }
        let mut client = rig.dial().await;
        say(&mut client, &GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
        let serve = async {
            loop {
                if let Ok(mut upstream) = accept(&rig, &acceptor).await {
                    head(&mut upstream).await;
                    let shown = upstream.get_ref().1.peer_certificates().unwrap()[0].clone();
                    assert_eq!(Some(shown), pair.as_ref().map(|pair| pair.der.clone()));
                    let fine = FINE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
                    upstream.write_all(fine.as_bytes()).await.unwrap();
                    upstream.flush().await.unwrap();
                    std::future::pending::<()>().await;
                }
            }
        };
        let status = tokio::select! {
            () = serve => unreachable!(),
            status = status(&mut client) => status,
        };
        (status, rig.exchanged().await)
    };
    // A file that is not there fails, as one does that the server does not believe.
    let (told, exchanged) = ask(None).await;
    assert_eq!(told, "503", "{exchanged:?}");
    assert_eq!(ask(Some(&clients)).await.0, "200");
    assert_eq!(ask(Some(&clients)).await.0, "200", "another certificate");
    let (told, exchanged) = ask(Some(&Authority::new())).await;
    assert_eq!(told, "503");
    assert!(exchanged.flags.has(Flag::UpstreamConnectionFailure), "{exchanged:?}");
    let error = std::error::Error::source(&*exchanged.error.unwrap()).unwrap().to_string();
    assert!(error.contains("alert"), "{error}");
}

#[tokio::test]
async fn bytes_are_carried_inside_of_tls_both_ways_and_to_either_end() {
    let (files, authority) = trusted();
    let acceptor = server(&authority.sign("reviews", |_| {}), None);
    let mut rig = rig(AppProtocol::Tcp, &files, simple()).await;
    let mut client = rig.dial().await;
    let mut upstream = accept(&rig, &acceptor).await.unwrap();
    assert_eq!(upstream.get_ref().1.alpn_protocol(), None);
    // The server may speak first, and at length.
    let long = vec![7; 3 << 20];
    let mut read = vec![0; long.len()];
    let (sent, heard) = tokio::join!(
        async {
            upstream.write_all(&long).await?;
            upstream.flush().await
        },
        soon(client.read_exact(&mut read))
    );
    assert!(sent.is_ok() && heard.is_ok() && read == long);
    let (sent, heard) = tokio::join!(client.write_all(&long), soon(upstream.read_exact(&mut read)));
    assert!(sent.is_ok() && heard.is_ok() && read == long);
    // The end of one way leaves the other open.
    client.shutdown().await.unwrap();
    assert_eq!(soon(upstream.read(&mut [0])).await.unwrap(), 0);
    upstream.write_all(b"bye").await.unwrap();
    upstream.shutdown().await.unwrap();
    assert_eq!(end_of(&mut client).await, (3, None));
    let record = rig.record().await;
    assert!(record.failure.is_none(), "{record:?}");
    let length = long.len() as u64;
    assert_eq!((record.bytes_sent, record.bytes_received), (length, length + 3));
}

#[tokio::test]
async fn a_stream_of_tls_that_is_cut_short_does_not_look_whole() {
    let (files, authority) = trusted();
    let acceptor = server(&authority.sign("reviews", |_| {}), None);
    let mut rig = rig(AppProtocol::Tcp, &files, simple()).await;
    let mut client = rig.dial().await;
    let mut upstream = accept(&rig, &acceptor).await.unwrap();
    upstream.write_all(b"half").await.unwrap();
    upstream.flush().await.unwrap();
    let mut read = [0; 4];
    soon(client.read_exact(&mut read)).await.unwrap();
    // The socket ends in good order, and TLS has not said that it does.
    drop(upstream.into_inner().0);
    assert!(end_of(&mut client).await.1.is_some());
    assert_eq!(rig.cause().await, Some("upstream-reset"));
}

#[tokio::test]
async fn a_connection_whose_tls_fails_is_closed_with_its_reason() {
    let (files, authority) = trusted();
    for (own, cause) in [
        (simple(), "upstream-tls"),
        (OwnTls { trust: Trust::Secret("any".to_owned()), ..simple() }, "tls-settings"),
    ] {
        let acceptor = server(&authority.sign("ratings", |_| {}), None);
        let mut rig = rig(AppProtocol::Tcp, &files, own).await;
        let mut client = rig.dial().await;
        let serve = async {
            loop {
                assert!(accept(&rig, &acceptor).await.is_err());
            }
        };
        tokio::select! {
            () = serve => {}
            end = end_of(&mut client) => assert_eq!(end.0, 0),
        }
        assert_eq!(rig.cause().await, Some(cause));
    }
}

#[tokio::test]
async fn http_2_is_agreed_on_where_the_destination_speaks_it() {
    let (files, authority) = trusted();
    let acceptor = server(&authority.sign("reviews", |_| {}), None);
    let rig = rig(AppProtocol::Http2, &files, simple()).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let upstream = accept(&rig, &acceptor).await.unwrap();
    assert_eq!(upstream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut connection = soon(h2::server::handshake(upstream)).await.unwrap();
    let serve = async {
        while let Some(accepted) = connection.accept().await {
            let (request, mut respond) = accepted.unwrap();
            assert_eq!(request.uri().path(), "/new");
            respond.send_response(http::Response::new(()), true).unwrap();
        }
    };
    tokio::select! {
        () = serve => panic!("the end"),
        status = status(&mut client) => assert_eq!(status, "200"),
    }
}
