//! Reads every frame that arrives on a host's link, of whatever kind.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Socket, Type};

use crate::{
    frame::{Frame, Kind},
    netns::Netns,
    sys,
};

/// Not in every libc: `PACKET_IGNORE_OUTGOING` of `linux/if_packet.h`.
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// A running capture; ends when dropped.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts to read what arrives on `eth0` of a namespace.
    pub(crate) fn start(netns: &Netns) -> Result<Self> {
        let socket = netns.enter(open)?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (frames, stop) = (Arc::clone(&frames), Arc::clone(&stop));
            move || read(socket, &frames, &stop)
        });
        Ok(Self { frames, stop, reader: Some(reader) })
    }

    /// What has arrived so far, without ARP and neighbour discovery.
    pub fn traffic(&self) -> Vec<Frame> {
        let mut frames = self.all();
        frames.retain(|frame| frame.kind() == Kind::Traffic);
        frames
    }

    /// What has arrived so far.
    pub fn all(&self) -> Vec<Frame> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many frames have arrived: a mark to count from.
    pub fn mark(&self) -> usize {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The traffic that has arrived since a mark.
    pub fn traffic_since(&self, mark: usize) -> Vec<Frame> {
        let mut frames = self.all().split_off(mark);
        frames.retain(|frame| frame.kind() == Kind::Traffic);
        frames
    }

    /// Waits until a frame that `wanted` knows has arrived since `mark`.
    pub fn wait_for(&self, mark: usize, wanted: impl Fn(&Frame) -> bool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.traffic_since(mark).iter().any(&wanted) {
            ensure!(Instant::now() < deadline, "the awaited frame did not arrive");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A panic in the reader has been printed; the test fails for want of frames.
            let _ = reader.join();
        }
    }
}

fn open() -> Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    sys::set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 32 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let interface = name_to_index(&socket, "eth0").context("no eth0 to read from")?;
    let every = u16::try_from(libc::ETH_P_ALL)?;
    socket.bind(&sys::link_address(interface, every, [0; 6])?)?;
    Ok(socket)
}

fn read(mut socket: Socket, frames: &Mutex<Vec<Frame>>, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.read(&mut buffer) else { continue };
        let frame = Frame::new(&buffer[..length]);
        frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
    }
}
