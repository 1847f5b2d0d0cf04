//! Requests at a steady rate by several kinds of clients at once, until the input ends: each is sent
//! once, and each that has no whole answer is a failure.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use h2::{
    Reason,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Method, Request};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Builder,
    task::{JoinHandle, LocalSet, spawn_blocking, spawn_local},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::web::field;

/// An answer that takes longer has been lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures that are told in words.
const TOLD: usize = 10;
/// The name that requests are for.
const HOST: &str = "reviews";

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// HTTP/1.1, one connection for as long as its server likes.
    KeptAlive,
    /// HTTP/1.1, a connection for each.
    Fresh,
    /// HTTP/2, all on one connection.
    Http2,
    /// A gRPC call, all on one connection.
    Grpc,
    /// A gRPC call that is answered by a stream of a second.
    Stream,
}

/// One client.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Steady {
    /// How.
    pub kind: Kind,
    /// Where to.
    pub to: SocketAddr,
    /// Requests a second, as long as they are answered so fast.
    pub rate: u32,
    /// How many may be under way at once.
    pub lanes: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// Who answered how often.
    pub answers: BTreeMap<String, u32>,
    /// Requests without a whole answer.
    pub failed: u32,
    /// Connections that were made.
    pub connections: u32,
    /// Some failures in words.
    pub words: Vec<String>,
    /// The longest that an answer took.
    pub longest_ms: u64,
}

impl Count {
    /// Whole answers.
    pub fn answered(&self) -> u32 {
        self.answers.values().sum()
    }
}

/// What came of all, in the order of the clients, and how long they went on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Each client's.
    pub counts: Vec<Count>,
    /// From the first request to the last.
    pub millis: u64,
}

/// Sends until the input ends; then it says the [`Counts`].
pub(super) fn run(clients: &[Steady]) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let counts = LocalSet::new().block_on(&runtime, send(clients))?;
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}

async fn send(clients: &[Steady]) -> Result<Counts> {
    let begun = Instant::now();
    let stopped = Rc::new(RefCell::new(false));
    let mut lanes = Vec::new();
    let mut counts = Vec::new();
    for client in clients {
        let count = Rc::new(RefCell::new(Count::default()));
        let kept = Kept::default();
        for _ in 0..client.lanes {
            let lane = Lane {
                client: *client,
                count: Rc::clone(&count),
                kept: Rc::clone(&kept),
                stream: None,
            };
            lanes.push(spawn_local(lane.run(Rc::clone(&stopped))));
        }
        counts.push(count);
    }
    println!("ready");
    spawn_blocking(|| io::stdin().read_line(&mut String::new())).await??;
    *stopped.borrow_mut() = true;
    join(lanes).await?;
    let millis = u64::try_from(begun.elapsed().as_millis())?;
    Ok(Counts { counts: counts.iter().map(|count| count.borrow().clone()).collect(), millis })
}

async fn join(lanes: Vec<JoinHandle<()>>) -> Result<()> {
    for lane in lanes {
        lane.await.context("a lane")?;
    }
    Ok(())
}

type Part = io::Cursor<Vec<u8>>;
/// The connection of HTTP/2 that the lanes of a client share.
type Kept = Rc<RefCell<Option<SendRequest<Part>>>>;

/// One request after the other.
struct Lane {
    client: Steady,
    count: Rc<RefCell<Count>>,
    kept: Kept,
    stream: Option<TcpStream>,
}

impl Lane {
    async fn run(mut self, stopped: Rc<RefCell<bool>>) {
        let mut ticks = interval(Duration::from_secs(1) * self.client.lanes / self.client.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*stopped.borrow() {
            ticks.tick().await;
            let begun = Instant::now();
            let late = || Err(io::ErrorKind::TimedOut.into());
            let outcome = timeout(PATIENCE, self.once()).await.unwrap_or_else(|_| late());
            let mut count = self.count.borrow_mut();
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            count.longest_ms = count.longest_ms.max(took);
            match outcome {
                Ok(answer) => *count.answers.entry(answer).or_default() += 1,
                Err(error) => {
                    count.failed += 1;
                    if count.words.len() < TOLD {
                        count.words.push(format!("{error} after {took} ms"));
                    }
                    self.stream = None;
                    self.kept.borrow_mut().take();
                }
            }
        }
    }

    async fn once(&mut self) -> io::Result<String> {
        match self.client.kind {
            Kind::KeptAlive => self.by_http1("keep-alive").await,
            Kind::Fresh => self.by_http1("close").await,
            Kind::Http2 | Kind::Grpc | Kind::Stream => self.by_http2().await,
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.client.to).await?;
        stream.set_nodelay(true)?;
        self.count.borrow_mut().connections += 1;
        Ok(stream)
    }

    async fn by_http1(&mut self, connection: &str) -> io::Result<String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: {connection}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            more(&mut stream, &mut bytes).await?;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = field(&head, "content-length").and_then(|value| value.parse::<usize>().ok());
        let length = length.ok_or_else(|| io::Error::other(format!("no length in {head:?}")))?;
        while bytes.len() < end + length {
            more(&mut stream, &mut bytes).await?;
        }
        let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("{head} {body}")));
        }
        if connection != "close" && field(&head, "connection").is_none_or(|value| value != "close")
        {
            self.stream = Some(stream);
        }
        Ok(body)
    }

    async fn by_http2(&self) -> io::Result<String> {
        let response = loop {
            let kept = self.kept.borrow().clone();
            let was_kept = kept.is_some();
            let send = match kept {
                Some(send) => send,
                None => self.connect_http2().await?,
            };
            match self.begin(send).await {
                Ok(response) => break response,
                // The connection's server has said before that it takes no more: nothing was sent.
                Err(error) if was_kept && says_goodbye(&error) => {
                    self.kept.borrow_mut().take();
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        };
        let (head, mut body) = response.await.map_err(io::Error::other)?.into_parts();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.map_err(io::Error::other)?;
            let _ = body.flow_control().release_capacity(part.len());
            bytes.extend_from_slice(&part);
        }
        let trailers = body.trailers().await.map_err(io::Error::other)?;
        if head.status != 200 {
            return Err(io::Error::other(format!("{head:?} {}", String::from_utf8_lossy(&bytes))));
        }
        self.check_call(&head.headers, trailers.as_ref(), &bytes)
    }

    /// Who answered, when it is a whole answer.
    fn check_call(
        &self,
        head: &HeaderMap,
        trailers: Option<&HeaderMap>,
        bytes: &[u8],
    ) -> io::Result<String> {
        let messages = match self.client.kind {
            Kind::Grpc => 1,
            Kind::Stream => 10,
            _ => return Ok(String::from_utf8_lossy(bytes).into_owned()),
        };
        let status = trailers.unwrap_or(head).get("grpc-status");
        let length = bytes.len() / messages;
        let words = format!("{head:?} {trailers:?} {bytes:?}");
        if status.is_none_or(|status| status != "0")
            || length < 5
            || bytes.chunks(length).any(|one| *one != bytes[..length])
        {
            return Err(io::Error::other(words));
        }
        Ok(String::from_utf8_lossy(&bytes[5..length]).into_owned())
    }

    async fn connect_http2(&self) -> io::Result<SendRequest<Part>> {
        let stream = self.connect().await?;
        let (send, connection) =
            h2::client::Builder::new().handshake(stream).await.map_err(io::Error::other)?;
        spawn_local(async move {
            // What goes wrong is said to the requests.
            let _ = connection.await;
        });
        *self.kept.borrow_mut() = Some(send.clone());
        Ok(send)
    }

    async fn begin(&self, send: SendRequest<Part>) -> Result<ResponseFuture, h2::Error> {
        let mut send = send.ready().await?;
        let is_call = self.client.kind != Kind::Http2;
        let path = if self.client.kind == Kind::Stream { "stream" } else { "one" };
        let mut request =
            Request::builder().uri(format!("http://{HOST}/{path}")).version(http::Version::HTTP_2);
        if is_call {
            request = request.method(Method::POST).header("content-type", "application/grpc");
            request = request.header("te", "trailers");
        }
        let request = request.body(()).expect("a request");
        let (response, mut body) = send.send_request(request, !is_call)?;
        if is_call {
            body.send_data(Part::new(message("hello")), true)?;
        }
        Ok(response)
    }
}

/// Whether a server has ended the connection in good order.
fn says_goodbye(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}

/// A message of gRPC.
pub(crate) fn message(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(0);
    [&[0][..], &length.to_be_bytes(), text.as_bytes()].concat()
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the end after {:?}", String::from_utf8_lossy(bytes)),
        )),
        _ => Ok(()),
    }
}
