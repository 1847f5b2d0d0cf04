//! Our reading of HTTP/1 held against hyper's and nginx's, on messages made by chance: what is accepted
//! here is accepted by hyper, with the same method, target, fields and body, and nginx sees the same
//! requests or refuses. What they would read differently is refused here. Each message is also read in
//! pieces, which must make no difference.
//!
//! `HTTP1_MESSAGES` is how many there are, `HTTP1_SEED` which.

mod maker;
mod nginx;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_proxy::http1::{
    Refusal,
    body::Body,
    head::{Limits, Role},
    request,
};
use fastrand::Rng;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use maker::Maker;
use nginx::{Answer, Nginx};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// A request as a server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    /// In order, names in lower case, without what frames a message or belongs to its connection.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// What became of a connection's bytes.
#[derive(Debug)]
struct Read {
    seen: Vec<Seen>,
    refused: Option<Refusal>,
}

/// Reads a connection's bytes as they come, in pieces of this size.
fn ours(bytes: &[u8], piece: usize) -> Read {
    let mut seen = Vec::new();
    let mut inbox: Vec<u8> = Vec::new();
    let mut coming = bytes.chunks(piece.max(1));
    let end = |seen, refused| Read { seen, refused };
    loop {
        let head = match request::read(&inbox, &Limits::default()) {
            Ok(Some(head)) => head,
            Ok(None) => match coming.next() {
                Some(more) => {
                    inbox.extend_from_slice(more);
                    continue;
                }
                None => return end(seen, None),
            },
            Err(refusal) => return end(seen, Some(refusal)),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let is_kept = |role: Role| matches!(role, Role::EndToEnd | Role::Host);
        let mut one = Seen {
            method: text(head.method.of(&inbox)),
            target: text(head.target.of(&inbox)),
            fields: head
                .fields
                .iter()
                .filter(|field| is_kept(field.role))
                .map(|field| {
                    let name = text(field.name.of(&inbox)).to_ascii_lowercase();
                    (name, field.value.of(&inbox).to_vec())
                })
                .collect(),
            body: Vec::new(),
        };
        // As hyper shows an absolute target that ends with its host.
        if head.path.is_none() && one.target.contains("://") {
            one.target.push('/');
        }
        inbox.drain(..head.length);
        let mut body = Body::new(head.framing);
        loop {
            let piece = match body.next(&inbox) {
                Ok(piece) => piece,
                Err(refusal) => return end(seen, Some(refusal)),
            };
            one.body.extend_from_slice(&inbox[piece.skip..piece.skip + piece.data]);
            inbox.drain(..piece.skip + piece.data);
            if piece.is_last {
                break;
            }
            if piece.skip + piece.data == 0 {
                match coming.next() {
                    Some(more) => inbox.extend_from_slice(more),
                    None => return end(seen, None),
                }
            }
        }
        seen.push(one);
        if !head.persists {
            return end(seen, None);
        }
    }
}

/// What hyper's server makes of them.
async fn theirs(bytes: &[u8], skipped: &[String]) -> Vec<Seen> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (mut client, server) = tokio::io::duplex(256 * 1024);
    let noted = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let noted = Arc::clone(&noted);
        let skipped = skipped.to_vec();
        async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await else {
                return Ok(Response::new(Empty::<Bytes>::new()));
            };
            let is_kept = |name: &str| !skipped.iter().any(|one| one == name);
            let fields = head.headers.iter().filter(|(name, _)| is_kept(name.as_str()));
            let mut fields: Vec<(String, Vec<u8>)> =
                fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            noted.lock().expect("no reader panics").push(Seen {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                fields,
                body: body.to_bytes().to_vec(),
            });
            Ok::<_, Infallible>(Response::new(Empty::new()))
        }
    });
    let serving =
        http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
    let talking = async {
        // A server that has closed takes no more.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    let both = async { tokio::join!(serving, talking) };
    let ended = timeout(Duration::from_secs(20), both).await;
    assert!(ended.is_ok(), "hyper never ends on {:?}", String::from_utf8_lossy(bytes));
    let seen = Arc::into_inner(seen).and_then(|seen| seen.into_inner().ok());
    seen.unwrap_or_default()
}

/// Names that are not compared: those that frame a message or belong to its connection, whatever
/// `Connection` lists among them.
fn skipped() -> Vec<String> {
    let names = [
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
        "expect",
        "te",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
        "x-a",
        "x-b",
    ];
    names.map(str::to_owned).to_vec()
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn what_is_accepted_here_is_read_alike_by_hyper() {
    let seed = number("HTTP1_SEED", 1);
    let count = number("HTTP1_MESSAGES", 20_000);
    println!("seed {seed}, {count} connections");
    let mut maker = Maker::new(Rng::with_seed(seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let skipped = skipped();
    let (mut accepted, mut refused, mut stricter) = (0, 0, 0);
    for _ in 0..count {
        let bytes = maker.connection();
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        let whole = ours(&bytes, bytes.len());
        for piece in [1, maker.piece()] {
            let pieces = ours(&bytes, piece);
            assert_eq!(pieces.seen, whole.seen, "in pieces of {piece}: {:?}", shown());
            assert_eq!(pieces.refused.is_some(), whole.refused.is_some(), "{:?}", shown());
        }
        let theirs = runtime.block_on(theirs(&bytes, &skipped));
        accepted += whole.seen.len();
        refused += usize::from(whole.refused.is_some());
        stricter += theirs.len().saturating_sub(whole.seen.len());
        for (at, mut own) in whole.seen.into_iter().enumerate() {
            own.fields.retain(|(name, _)| !skipped.contains(name));
            // Hyper keeps fields of one name together.
            own.fields.sort_by(|one, other| one.0.cmp(&other.0));
            let other = theirs.get(at);
            assert!(other.is_some(), "hyper has no request {at} of {:?}", shown());
            assert_eq!(Some(&own), other, "request {at} of {:?}", shown());
        }
    }
    println!(
        "{accepted} requests read alike, {refused} connections refused, {stricter} requests that hyper alone takes"
    );
    // Neither everything nor nothing: a test of messages that are all refused would say nothing.
    assert!(accepted as u64 > count / 2, "{accepted} of {count}");
    assert!(refused as u64 > count / 10, "{refused} of {count}");
}

#[test]
fn what_is_accepted_here_is_seen_alike_by_nginx() {
    let Some(nginx) = Nginx::start().expect("nginx runs") else {
        println!(
            "test skipped: what_is_accepted_here_is_seen_alike_by_nginx: nginx is not installed"
        );
        return;
    };
    let (seed, count) = (number("HTTP1_SEED", 1), number("HTTP1_MESSAGES", 20_000));
    let mut maker = Maker::new(Rng::with_seed(seed));
    let (mut alike, mut refused) = (0_u64, 0);
    for _ in 0..count {
        let bytes = maker.connection();
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        let own = ours(&bytes, bytes.len());
        let theirs = nginx.read(&bytes).expect("nginx is there");
        for (at, one) in own.seen.iter().enumerate() {
            match theirs.get(at) {
                // Its end is ours: it sees nothing after it.
                None | Some(Answer::Refused(_)) => {
                    refused += 1;
                    break;
                }
                Some(Answer::Seen(said)) => {
                    let is_alike = one.method == "HEAD"
                        || one.target.contains("://")
                        || *said == format!("{} {}", one.method, one.target);
                    assert!(
                        is_alike,
                        "request {at}: {one:?}, and nginx {said:?}, of {:?}",
                        shown()
                    );
                    alike += 1;
                }
            }
        }
        // One whose body is not whole yet is answered before it is.
        let behind =
            theirs.iter().skip(own.seen.len()).filter(|one| matches!(one, Answer::Seen(_)));
        let is_hidden = own.refused.is_none() && behind.count() > 1;
        assert!(!is_hidden, "nginx sees more than {own:?}: {theirs:?}, of {:?}", shown());
    }
    println!("{alike} requests seen alike, {refused} connections that nginx alone refuses");
    assert!(alike > count / 2, "{alike} of {count}");
}
