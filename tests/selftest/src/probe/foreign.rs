//! Sockets that were not made by a process of the pod, and threads that only visit it.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Stdio},
    rc::Rc,
    thread,
};

use crate::{
    errand::{Errand, Outcome},
    netns,
    process::Place,
};
use anyhow::{Context as _, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{Protocol, Socket, Type};

use super::{Again, Attempt, datagram, exchange, stream, timed};

/// Makes a socket out here and hands it to a process in the pod's group, which uses it.
pub(crate) fn lend(errand: &Errand, tcp: bool) -> io::Result<Attempt> {
    let socket = make(errand, tcp)?;
    let mut borrower = Borrower::start(errand).map_err(io::Error::other)?;
    let answered = borrower.hand_over(errand, &socket)?;
    drop(socket);
    // What never connected is not held open.
    let again = answered.then(|| -> Again { Box::new(move || borrower.again()) });
    Ok(Attempt { answered, again })
}

/// A thread that enters the pod's namespace and does as a process of the pod would.
pub(crate) fn enter(errand: &Errand, tcp: bool) -> io::Result<Attempt> {
    let netns = File::open(&errand.netns)?;
    let socket = thread::scope(|scope| {
        let visit = scope.spawn(|| {
            netns::move_into(&netns)?;
            make(errand, tcp)
        });
        visit.join().map_err(|_| io::Error::other("the visiting thread panicked"))?
    })?;
    use_socket(errand, socket)
}

fn make(errand: &Errand, tcp: bool) -> io::Result<Socket> {
    let (kind, protocol) =
        if tcp { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
    exchange::socket(errand, kind, protocol)
}

fn use_socket(errand: &Errand, socket: Socket) -> io::Result<Attempt> {
    if socket.r#type()? == Type::STREAM {
        return stream::dial(socket, &errand.target().into());
    }
    datagram::unconnected(socket, errand.target().into())
}

/// Room for a message that carries one socket.
const ONE_SOCKET: usize = rustix::cmsg_space!(ScmRights(1));

/// A process in the pod's group that waits for a socket.
struct Borrower {
    child: Child,
    pipe: UnixStream,
}

impl Borrower {
    fn start(errand: &Errand) -> Result<Self> {
        let (pipe, theirs) = UnixStream::pair()?;
        let mut command = crate::process::probe()?;
        Place { netns: None, cgroup: Some(&errand.cgroup) }.prepare(&mut command)?;
        command.arg("borrow").stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        Ok(Self { child: command.spawn()?, pipe })
    }

    fn hand_over(&mut self, errand: &Errand, socket: &Socket) -> io::Result<bool> {
        let mut line = serde_json::to_vec(errand)?;
        line.push(b'\n');
        let (mut space, handed) = ([MaybeUninit::uninit(); ONE_SOCKET], [socket.as_fd()]);
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&handed)) {
            return Err(io::Error::other("the space is for one socket"));
        }
        sendmsg(&self.pipe, &[IoSlice::new(&line)], &mut control, SendFlags::empty())?;
        self.outcome()
    }

    fn again(&mut self) -> io::Result<bool> {
        self.pipe.write_all(b"again\n")?;
        self.outcome()
    }

    fn outcome(&mut self) -> io::Result<bool> {
        let mut line = String::new();
        BufReader::new(&self.pipe).read_line(&mut line)?;
        let outcome: Outcome = serde_json::from_str(&line)?;
        outcome.errno.map_or(Ok(outcome.answered), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}

impl Drop for Borrower {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The borrower's side: one socket, then as many sends as the lender asks for.
pub(crate) fn borrow() -> Result<()> {
    let pipe = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (errand, socket) = receive(&pipe)?;
    let held: Rc<RefCell<Option<Again>>> = Rc::default();
    let first = timed(|| {
        let attempt = use_socket(&errand, socket)?;
        *held.borrow_mut() = attempt.again;
        Ok(attempt.answered)
    });
    answer(&pipe, &first)?;
    for line in BufReader::new(&pipe).lines() {
        line?;
        let outcome = match held.borrow_mut().as_mut() {
            Some(again) => timed(&mut **again),
            None => Outcome { errno: None, answered: false, took_ms: 0 },
        };
        answer(&pipe, &outcome)?;
    }
    Ok(())
}

fn answer(mut pipe: &UnixStream, outcome: &Outcome) -> Result<()> {
    writeln!(pipe, "{}", serde_json::to_string(outcome)?)?;
    Ok(())
}

fn receive(pipe: &UnixStream) -> Result<(Errand, Socket)> {
    let mut buffer = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); ONE_SOCKET];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut buffer)];
    let length = recvmsg(pipe, parts, &mut control, RecvFlags::empty())?.bytes;
    let handed = control.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let socket = Socket::from(handed.context("no socket was handed over")?);
    Ok((serde_json::from_slice(&buffer[..length])?, exchange::patient(socket)?))
}
