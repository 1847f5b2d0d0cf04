//! What stands between agents and a server: it lets through, holds, cuts, slows down, refuses and
//! counts, as a test says.
//!
//! It passes bytes on and knows nothing of them, unless it is told to read requests. Then it
//! speaks plain HTTP/1.1 on both sides, one request a connection, and can answer by itself.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Builder,
    sync::{oneshot, watch},
    task::JoinSet,
    time::sleep,
};

use crate::netns::Netns;

/// What happens to what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It passes.
    Open,
    /// Connections are accepted, and nothing moves on any.
    Held,
    /// Connections end, and new ones end at once.
    Shut,
    /// It passes, a thousand bytes in so long.
    Slow(Duration),
    /// Requests are answered with 429, which asks for so many seconds.
    Refusing(u32),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When.
    pub at: Instant,
    /// Method and target; empty where requests are not read.
    pub line: String,
}

impl Request {
    /// A list, by pages or streamed, and not the one of a single object that asks for the version.
    pub fn is_list(&self) -> bool {
        let of_all = self.line.contains("limit=") && !self.line.contains("limit=1 ");
        of_all || self.line.contains("sendInitialEvents=true")
    }
}

/// A running gate; it ends when dropped.
#[derive(Debug)]
pub struct Gate {
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    reads: bool,
    mode: watch::Sender<Mode>,
    /// Watches that were asked for before this say nothing any more.
    muted: watch::Sender<Option<Instant>>,
    log: Mutex<Vec<Request>>,
}

impl Gate {
    /// Stands on a port of each namespace's loopback, before a server in another one.
    pub fn start(
        (inside, port): (&[&Netns], u16),
        (outside, upstream): (&Netns, SocketAddr),
        reads: bool,
    ) -> Result<Self> {
        let listen = || {
            let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listeners = inside.iter().map(|netns| netns.enter(listen));
        let listeners = listeners.collect::<Result<Vec<_>>>()?;
        let state = Arc::new(State {
            upstream,
            reads,
            mode: watch::Sender::new(Mode::Open),
            muted: watch::Sender::new(None),
            log: Mutex::default(),
        });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (shared, enter) = (Arc::clone(&state), outside.door()?);
        let thread = thread::spawn(move || {
            enter().expect("the namespace is there");
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for listener in listeners {
                    tasks.spawn(accept(listener, Arc::clone(&shared)));
                }
                // The sender is only ever dropped, which is the signal.
                let _ = stopped.await;
            });
        });
        Ok(Self { state, stop: Some(stop), thread: Some(thread) })
    }

    /// From here on.
    pub fn set(&self, mode: Mode) {
        self.state.mode.send_replace(mode);
    }

    /// No watch that there is says anything any more; new ones do.
    pub fn mute(&self) {
        self.state.muted.send_replace(Some(Instant::now()));
    }

    /// Forgets what came.
    pub fn forget(&self) {
        self.state.log().clear();
    }

    /// What came: requests where they are read, else connections.
    pub fn log(&self) -> Vec<Request> {
        self.state.log().clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the test fails for want of answers.
            let _ = thread.join();
        }
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Vec<Request>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: std::net::TcpListener, state: Arc<State>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await?;
        let mut mode = state.mode.subscribe();
        let shared = Arc::clone(&state);
        connections.spawn(async move {
            tokio::select! {
                // One that ends in an error is one that ends.
                _ = serve(client, &shared) => {}
                _ = mode.wait_for(|mode| *mode == Mode::Shut) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut client: TcpStream, state: &State) -> Result<()> {
    let at = Instant::now();
    let (line, head) = if state.reads { head(&mut client).await? } else { Default::default() };
    let is_watch = line.contains("watch=true");
    state.log().push(Request { at, line });
    let mode = *state.mode.borrow();
    if let Mode::Refusing(seconds) = mode {
        let answer = format!(
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        return Ok(client.write_all(answer.as_bytes()).await?);
    }
    state.mode.subscribe().wait_for(|mode| *mode != Mode::Held).await?;
    let mut server = TcpStream::connect(state.upstream).await?;
    server.write_all(&head).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let muted = || is_watch && state.muted.borrow().is_some_and(|since| at < since);
    tokio::select! {
        _ = pass(from_client, to_server, (state, || false)) => {}
        _ = pass(from_server, to_client, (state, muted)) => {}
    }
    Ok(())
}

/// Reads the head of a request; returns its first line, and itself with the wish that the server
/// closes the connection after the answer.
async fn head(client: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8(head)?;
    let (line, rest) = text.split_once("\r\n").context("no request line")?;
    Ok((line.to_owned(), format!("{line}\r\nConnection: close\r\n{rest}").into_bytes()))
}

/// Passes bytes on until one side ends, those that come while it is muted nowhere.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (state, muted): (&State, impl Fn() -> bool),
) -> io::Result<()> {
    let mut mode = state.mode.subscribe();
    let mut buffer = vec![0; 1_000];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if muted() {
            continue;
        }
        let held = mode.wait_for(|mode| *mode != Mode::Held).await;
        let mode = *held.map_err(io::Error::other)?;
        if let Mode::Slow(time) = mode {
            sleep(time).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
