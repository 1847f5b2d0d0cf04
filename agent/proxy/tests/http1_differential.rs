//! Our reading of HTTP/1 held against hyper's, on messages made by chance: what is accepted here is
//! accepted there, with the same method, target, fields and body. What the two would read differently
//! is refused here. Each message is also read in pieces, which must make no difference.
//!
//! `HTTP1_MESSAGES` is how many there are, `HTTP1_SEED` which.

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
            noted.lock().unwrap().push(Seen {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                fields,
                body: body.to_bytes().to_vec(),
            });
            Ok::<_, Infallible>(Response::new(Empty::new()))
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let talking = async {
        // A server that has closed takes no more.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    let both = async { tokio::join!(serving, talking) };
    let ended = timeout(Duration::from_secs(20), both).await;
    assert!(ended.is_ok(), "hyper never ends on {:?}", String::from_utf8_lossy(bytes));
    Arc::into_inner(seen).map(|seen| seen.into_inner().unwrap()).unwrap_or_default()
}

/// Messages: most of their parts are right, some are of the shapes that servers disagree about.
struct Maker {
    chance: Rng,
    /// Out of a hundred, how many parts are bent.
    bent: u32,
}

impl Maker {
    fn is_bent(&mut self) -> bool {
        self.chance.u32(..100) < self.bent
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.chance.usize(..all.len())]
    }

    /// One of the right ones, or now and then one of the others.
    fn of<'a>(&mut self, right: &[&'a str], bent: &[&'a str]) -> &'a str {
        if self.is_bent() { self.one_of(bent) } else { self.one_of(right) }
    }

    fn message(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut say = |text: &str| out.extend_from_slice(text.as_bytes());
        say(self.of(&["", ""], &["\r\n", "\n", " ", "\r"]));
        say(self.of(
            &["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "patch"],
            &["G(T", "", "G\tT", "POST "],
        ));
        say(self.of(&[" "], &["  ", "\t", ""]));
        say(self.of(
            &["/", "/a/b?c=d", "/%20", "/a//b", "http://a/x"],
            &[
                "*",
                "a",
                "/a b",
                "/a\u{e9}",
                "/a#b",
                "//",
                "/\u{0}",
                "http://",
                "http://a",
                "http://a?b",
                "https://u@a/",
                "http://b/x",
            ],
        ));
        say(self.of(
            &[" HTTP/1.1"],
            &[" HTTP/1.0", "  HTTP/1.1", " HTTP/1.1 ", " HTTP/1.2", " HTTP/2.0", " http/1.1", ""],
        ));
        say(self.of(&["\r\n"], &["\n", "\r", " \r\n", "\r\r\n"]));
        let host = self.of(
            &["Host: a\r\n"],
            &[
                "",
                "Host: a\r\nHost: a\r\n",
                "Host: b\r\n",
                "Host : a\r\n",
                "Host: a b\r\n",
                "Host:\r\n",
                "Host: a:80\r\n",
                "Host: a:x\r\n",
                "Host: [::1]\r\n",
                "Host: a\n",
            ],
        );
        say(host);
        for _ in 0..self.chance.u32(..4) {
            let field = self.of(
                &[
                    "X-A: 1\r\n",
                    "x-b:2\r\n",
                    "Accept: */*, text/html\r\n",
                    "X-C:  a b  \r\n",
                    "X-A: again\r\n",
                    "X-D:\r\n",
                    "X-E: \u{e9}\r\n",
                ],
                &[
                    "X-A : 1\r\n",
                    " X-A: 1\r\n",
                    "X-A: 1\r\n 2\r\n",
                    "X-A: 1\r\n\t2\r\n",
                    "X-A: a\rb\r\n",
                    "X-A: a\u{0}b\r\n",
                    "X-A\r\n",
                    ": a\r\n",
                    "X(A): 1\r\n",
                    "X-A: 1\n",
                    "X-\u{e9}: 1\r\n",
                    "Connection: close\r\n",
                    "Connection: x-a\r\n",
                    "Connection: keep-alive, x-b\r\n",
                    "Connection: host\r\n",
                    "TE: trailers\r\n",
                    "Expect: 100-continue\r\n",
                    "Upgrade: h2c\r\n",
                    "Keep-Alive: timeout=5\r\n",
                    "X-A: \u{7f}\r\n",
                ],
            );
            say(field);
        }
        match self.chance.u32(..4) {
            0 => self.with_length(&mut out),
            1 => self.with_chunks(&mut out),
            2 if self.is_bent() => self.with_two_framings(&mut out),
            _ => out.extend_from_slice(self.of(&["\r\n"], &["\n", "\r", ""]).as_bytes()),
        }
        out
    }

    fn with_length(&mut self, out: &mut Vec<u8>) {
        let body = "x".repeat(self.chance.usize(..20));
        let length = body.len();
        let lines = if self.is_bent() {
            match self.chance.u32(..9) {
                0 => format!("Content-Length: +{length}\r\n"),
                1 => format!("Content-Length: {length}, {length}\r\n"),
                2 => format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
                3 => format!("Content-Length: 0x{length:x}\r\n"),
                4 => format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
                5 => format!("Content-Length : {length}\r\n"),
                6 => "Content-Length: 99999999999999999999\r\n".to_owned(),
                7 => "Content-Length:\r\n".to_owned(),
                _ => format!("Content-Length: 0{length}\r\n"),
            }
        } else {
            format!("Content-Length: {length}\r\n")
        };
        out.extend_from_slice(lines.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
    }

    fn with_chunks(&mut self, out: &mut Vec<u8>) {
        let coding = self.of(
            &["Transfer-Encoding: chunked\r\n", "transfer-encoding: Chunked\r\n"],
            &[
                "Transfer-Encoding: gzip, chunked\r\n",
                "Transfer-Encoding: chunked, chunked\r\n",
                "Transfer-Encoding: identity\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding : chunked\r\n",
                "Transfer-Encoding: xchunked\r\n",
                "Transfer-Encoding:\tchunked\r\n",
                "Transfer-Encoding: \"chunked\"\r\n",
                "Transfer-Encoding: chunked;q=1\r\n",
            ],
        );
        out.extend_from_slice(coding.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.chunks(out);
    }

    fn chunks(&mut self, out: &mut Vec<u8>) {
        for _ in 0..self.chance.u32(..3) {
            let data = "y".repeat(1 + self.chance.usize(..30));
            let size = data.len();
            let line = if self.is_bent() {
                match self.chance.u32(..9) {
                    0 => format!("{size:x} \r\n"),
                    1 => format!(" {size:x}\r\n"),
                    2 => format!("+{size:x}\r\n"),
                    3 => format!("0x{size:x}\r\n"),
                    4 => format!("{size:017x}\r\n"),
                    5 => format!("{size:x}\n"),
                    6 => format!("{size:x};a=\"b\n\"\r\n"),
                    7 => format!("{:x}\r\n", size + 1),
                    _ => format!("{size:x};ext\r\n"),
                }
            } else {
                format!("{size:x}\r\n")
            };
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(data.as_bytes());
            out.extend_from_slice(self.of(&["\r\n"], &["\n", "", "\r\n\r\n"]).as_bytes());
        }
        let end = self.of(
            &["0\r\n\r\n", "000\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n"],
            &[
                "0\n\n",
                "0\r\n",
                "-0\r\n\r\n",
                "0\r\nX Sum: 1\r\n\r\n",
                "0\r\n X: 1\r\n\r\n",
                "0\r\nContent-Length: 9\r\n\r\n",
                "0\r\n\n",
            ],
        );
        out.extend_from_slice(end.as_bytes());
    }

    fn with_two_framings(&mut self, out: &mut Vec<u8>) {
        let lines = self.one_of(&[
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        ]);
        out.extend_from_slice(lines.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.chunks(out);
    }
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
    let mut maker = Maker { chance: Rng::with_seed(seed), bent: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let skipped = skipped();
    let (mut accepted, mut refused, mut stricter) = (0, 0, 0);
    for _ in 0..count {
        maker.bent = [0, 3, 10, 30][maker.chance.usize(..4)];
        let bytes: Vec<u8> = (0..=maker.chance.u32(..3)).flat_map(|_| maker.message()).collect();
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        let whole = ours(&bytes, bytes.len());
        for piece in [1, 1 + maker.chance.usize(..16)] {
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
