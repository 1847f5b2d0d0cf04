//! Sockets that were not made by a process of the pod, and threads that only visit it.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{Child, Stdio},
    rc::Rc,
    thread,
};

use crate::{
    errand::{Errand, Outcome},
    process::Place,
};
use anyhow::{Context as _, Result};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
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
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
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
        let descriptors: [RawFd; 1] = [socket.as_raw_fd()];
        sendmsg::<()>(
            self.pipe.as_raw_fd(),
            &[IoSlice::new(&line)],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            None,
        )?;
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
    let pipe = UnixStream::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
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

#[expect(unsafe_code, reason = "a descriptor out of a control message belongs to nobody yet")]
fn receive(pipe: &UnixStream) -> Result<(Errand, Socket)> {
    let mut buffer = vec![0; 4096];
    let mut space = nix::cmsg_space!(RawFd);
    let (length, descriptor) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message =
            recvmsg::<()>(pipe.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
        let descriptor = message
            .cmsgs()?
            .find_map(|part| match part {
                ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
                _ => None,
            })
            .context("no socket was handed over")?;
        (message.bytes, descriptor)
    };
    // SAFETY: the kernel has just put it in this process's table, and nobody else knows it.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok((serde_json::from_slice(&buffer[..length])?, exchange::patient(socket)?))
}
