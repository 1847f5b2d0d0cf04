//! Many connections at once: streams that are checked byte by byte, and a steady rate of new ones,
//! to where they may go and to where they may not.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Builder,
    task::LocalSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// A stream says something this often.
const BEAT: Duration = Duration::from_millis(100);
/// An answer that takes longer has been lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// One message of a stream: its number and a count, over and over.
const WORDS: usize = 16;

/// Many connections at once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Where connections may go.
    pub allowed: SocketAddr,
    /// Where they may not.
    pub denied: SocketAddr,
    /// Streams that stay open.
    pub streams: u32,
    /// New connections a second, to each of the two.
    pub rate: u32,
    /// How long.
    pub seconds: u64,
}

/// What came of a [`Load`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Messages of streams that came back as they were sent.
    pub exchanges: u64,
    /// Streams that failed.
    pub broken: u64,
    /// New connections that were made where they may be.
    pub made: u64,
    /// New connections that were refused where they may not be, with `EPERM`.
    pub refused: u64,
    /// Connections that were made where they may not be.
    pub leaked: u64,
    /// Anything else: an allowed connection that failed, a refusal by another error.
    pub wrong: u64,
    /// What was wrong, in words.
    pub complaints: Vec<String>,
}

impl Tally {
    /// Counts one new connection.
    pub fn count(&mut self, may: bool, outcome: io::Result<()>) {
        match outcome {
            Ok(()) if may => self.made += 1,
            Ok(()) => self.leaked += 1,
            Err(error) if !may && error.raw_os_error() == Some(libc::EPERM) => self.refused += 1,
            Err(error) => {
                self.wrong += 1;
                self.complaints.push(format!("a connection ({may}): {error}"));
            }
        }
    }
}

/// Runs the load, says `ready` when every stream is open, and the tally at the end.
pub(super) fn run(load: &Load) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    LocalSet::new().block_on(&runtime, carry(load, &tally))?;
    println!("{}", serde_json::to_string(&*tally.borrow())?);
    Ok(())
}

type Shared = Rc<RefCell<Tally>>;

async fn carry(load: &Load, tally: &Shared) -> Result<()> {
    let mut tasks = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..load.streams {
        streams.push(TcpStream::connect(load.allowed).await?);
    }
    println!("ready");
    let end = Instant::now() + Duration::from_secs(load.seconds);
    for (number, stream) in streams.into_iter().enumerate() {
        tasks.push(tokio::task::spawn_local(converse(stream, number, end, Rc::clone(tally))));
    }
    let pause = Duration::from_secs(1) / load.rate.max(1);
    for (address, may) in [(load.allowed, true), (load.denied, false)] {
        tasks.push(tokio::task::spawn_local(knock((address, may), pause, end, Rc::clone(tally))));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

/// Talks until the end; counts itself broken when an answer is wrong, late or an error.
async fn converse(mut stream: TcpStream, number: usize, end: Instant, tally: Shared) {
    let mut count = 0_u64;
    // Spread out, lest all speak at once.
    sleep(BEAT * u32::try_from(number % 10).unwrap_or(0) / 10).await;
    while Instant::now() < end {
        let said = [number as u64, count].map(u64::to_be_bytes).concat().repeat(WORDS / 2);
        match timeout(PATIENCE, repeat(&mut stream, &said)).await {
            Ok(Ok(true)) => tally.borrow_mut().exchanges += 1,
            outcome => {
                let mut tally = tally.borrow_mut();
                tally.broken += 1;
                tally.complaints.push(format!("stream {number}, message {count}: {outcome:?}"));
                return;
            }
        }
        count += 1;
        sleep(BEAT).await;
    }
}

async fn repeat(stream: &mut TcpStream, said: &[u8]) -> io::Result<bool> {
    stream.write_all(said).await?;
    let mut heard = vec![0; said.len()];
    stream.read_exact(&mut heard).await?;
    Ok(heard == said)
}

/// Connects at a steady rate.
async fn knock((address, may): (SocketAddr, bool), pause: Duration, end: Instant, tally: Shared) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tries = Vec::new();
    while Instant::now() < end {
        ticks.tick().await;
        let tally = Rc::clone(&tally);
        tries.push(tokio::task::spawn_local(async move {
            let outcome = timeout(PATIENCE, TcpStream::connect(address)).await;
            tally.borrow_mut().count(
                may,
                outcome.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))).map(drop),
            );
        }));
        tries.retain(|task| !task.is_finished());
    }
    for task in tries {
        // A task that panicked has printed so, and the tally is short of it.
        let _ = task.await;
    }
}
