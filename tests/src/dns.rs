//! A name server that says what a test tells it, over UDP and TCP. Dropped, it answers no more.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};

use crate::world::Host;

const PORT: u16 = 53;
/// How soon a thread sees that it is to end.
const TICK: Duration = Duration::from_millis(50);
/// What an answer over UDP may have, unless the question says more (RFC 6891).
const DATAGRAM: usize = 1_232;

/// How the server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    #[default]
    Well,
    /// It answers SERVFAIL to everything.
    Broken,
    /// It does not answer.
    Silent,
}

#[derive(Debug, Default)]
struct Zone {
    mood: Mood,
    /// A name that is missing does not exist.
    names: BTreeMap<String, (u32, Vec<IpAddr>)>,
    aliases: BTreeMap<String, (u32, String)>,
    /// When each name was first answered as it is now.
    answered: BTreeMap<String, Instant>,
}

/// A running server.
#[derive(Debug)]
pub struct NameServer {
    address: IpAddr,
    zone: Arc<Mutex<Zone>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one at every address of a host.
    pub fn start(host: &Host) -> Result<Self> {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT);
        let (udp, tcp) = host.netns().enter(|| {
            let udp = UdpSocket::bind(any).context("binding the name server")?;
            udp.set_read_timeout(Some(TICK))?;
            let tcp = TcpListener::bind(any).context("listening as a name server")?;
            tcp.set_nonblocking(true)?;
            Ok((udp, tcp))
        })?;
        let (zone, ends) = (Arc::<Mutex<Zone>>::default(), Arc::<AtomicBool>::default());
        let shared = || (Arc::clone(&zone), Arc::clone(&ends));
        let (for_udp, for_tcp) = (shared(), shared());
        let threads = vec![
            thread::spawn(move || datagrams(&udp, &for_udp.0, &for_udp.1)),
            thread::spawn(move || streams(&tcp, &for_tcp.0, &for_tcp.1)),
        ];
        Ok(Self { address: host.v4().into(), zone, ends, threads })
    }

    /// Where it is asked.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A name has these addresses from now on, for so many seconds each time.
    pub fn set(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let mut zone = lock(&self.zone);
        zone.aliases.remove(name);
        zone.names.insert(name.to_owned(), (ttl, addresses.to_vec()));
        zone.answered.clear();
    }

    /// A name is another one's alias from now on.
    pub fn alias(&self, name: &str, ttl: u32, of: &str) {
        let mut zone = lock(&self.zone);
        zone.names.remove(name);
        zone.aliases.insert(name.to_owned(), (ttl, of.to_owned()));
        zone.answered.clear();
    }

    /// A name does not exist any more.
    pub fn remove(&self, name: &str) {
        let mut zone = lock(&self.zone);
        zone.names.remove(name);
        zone.aliases.remove(name);
    }

    /// How it is from now on.
    pub fn feels(&self, mood: Mood) {
        lock(&self.zone).mood = mood;
    }

    /// When it first answered for a name what it answers now.
    pub fn answered(&self, name: &str) -> Option<Instant> {
        lock(&self.zone).answered.get(name).copied()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A panic there has been printed; the test fails for want of answers.
            let _ = thread.join();
        }
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

fn datagrams(socket: &UdpSocket, zone: &Mutex<Zone>, ends: &AtomicBool) {
    let mut buffer = [0; 4_096];
    while !ends.load(Ordering::Acquire) {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = answer(&buffer[..length], zone, DATAGRAM) {
            // A client that is gone loses nothing.
            let _ = socket.send_to(&answer, peer);
        }
    }
}

fn streams(listener: &TcpListener, zone: &Mutex<Zone>, ends: &AtomicBool) {
    while !ends.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => {
                // A client that breaks off is its own loss.
                let _ = converse(stream, zone);
            }
            Err(_) => thread::sleep(TICK),
        }
    }
}

/// One question, with its length before it (RFC 1035, 4.2.2).
fn converse(mut stream: TcpStream, zone: &Mutex<Zone>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut question)?;
    if let Some(answer) = answer(&question, zone, u16::MAX.into()) {
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
    Ok(())
}

/// The answer to a question; none for what is none, or from a server that is silent.
fn answer(question: &[u8], zone: &Mutex<Zone>, room: usize) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut zone = lock(zone);
    let mut message =
        Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(query.clone());
    match zone.mood {
        Mood::Silent => return None,
        Mood::Broken => message.metadata.response_code = ResponseCode::ServFail,
        Mood::Well => fill(&mut message, &mut zone, query.name(), query.query_type()),
    }
    let whole = message.to_vec().ok()?;
    if whole.len() <= room {
        return Some(whole);
    }
    message.answers.clear();
    message.metadata.truncation = true;
    message.to_vec().ok()
}

fn fill(message: &mut Message, zone: &mut Zone, asked: &Name, kind: RecordType) {
    let mut name = text(asked);
    while let Some((ttl, of)) = zone.aliases.get(&name).cloned() {
        let (Ok(owner), Ok(target)) = (absolute(&name), absolute(&of)) else { return };
        message.add_answer(Record::from_rdata(owner, ttl, RData::CNAME(rdata::CNAME(target))));
        name = of;
    }
    let Some((ttl, addresses)) = zone.names.get(&name).cloned() else {
        message.metadata.response_code = ResponseCode::NXDomain;
        return;
    };
    let Ok(owner) = absolute(&name) else { return };
    for address in addresses {
        let data = match (address, kind) {
            (IpAddr::V4(v4), RecordType::A) => RData::A(rdata::A(v4)),
            (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(rdata::AAAA(v6)),
            _ => continue,
        };
        message.add_answer(Record::from_rdata(owner.clone(), ttl, data));
    }
    zone.answered.entry(text(asked)).or_insert_with(Instant::now);
}

fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn absolute(name: &str) -> Result<Name> {
    Ok(Name::from_ascii(format!("{name}."))?)
}
