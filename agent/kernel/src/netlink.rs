//! Netlink, as much of it as the agent speaks: requests, dumps and bounded reading of the answers.
//!
//! A socket asks about the namespace that it was made in, for good. Inside a pod's namespace a
//! process of the pod could send us messages of its own making, so the socket is connected to the
//! kernel: from then on the kernel refuses everybody else's (`netlink_getsockbyportid`).

use std::{io, time::Duration};

use netlink_sys::SocketAddr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use thiserror::Error;

mod link_news;
#[cfg(test)]
mod tests;

pub use link_news::{Heard, LinkListener, LinkNews};

/// The kernel fills a dump's datagrams up to 32 KiB when the reader has room for it.
const DATAGRAM: usize = 64 * 1024;

/// The kernel answers out of the call itself; a wait means that it never will.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;

/// What goes wrong between us and the kernel.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// A call on the socket failed.
    #[error("netlink: {call} failed")]
    Call {
        /// The call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error("netlink: the kernel refused the request")]
    Refused(#[source] io::Error),
    /// The answer is cut short or contradicts itself.
    #[error("netlink: the kernel's answer cannot be read")]
    Malformed,
    /// The answer changed while it was given; it is to be asked for again.
    #[error("netlink: what was listed changed meanwhile")]
    Interrupted,
}

impl NetlinkError {
    /// True when the kernel refused the request with this errno.
    pub fn is(&self, errno: i32) -> bool {
        matches!(self, Self::Refused(error) if error.raw_os_error() == Some(errno))
    }
}

/// A netlink socket of the namespace that it was made in.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
}

impl Socket {
    /// Opens one in the calling thread's namespace; `protocol` is a `NETLINK_*` number.
    pub fn open(protocol: i32) -> Result<Self, NetlinkError> {
        let failed = |call| move |source| NetlinkError::Call { call, source };
        let protocol = isize::try_from(protocol).map_err(|_| NetlinkError::Malformed)?;
        let mut inner = netlink_sys::Socket::new(protocol).map_err(failed("socket()"))?;
        inner.bind_auto().map_err(failed("bind()"))?;
        inner.connect(&SocketAddr::new(0, 0)).map_err(failed("connect()"))?;
        set_socket_timeout(&inner, Timeout::Recv, Some(PATIENCE))
            .map_err(|errno| failed("SO_RCVTIMEO")(errno.into()))?;
        Ok(Self { inner, sequence: 0 })
    }

    /// Asks for a list and hands out the body of each of its messages.
    pub fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.send(kind, libc::NLM_F_DUMP, body)?;
        let mut interrupted = false;
        self.receive(|message| {
            interrupted |= message.flags & flag(libc::NLM_F_DUMP_INTR) != 0;
            match message.kind {
                Kind::Done | Kind::Acknowledged => return Ok(Progress::Finished),
                Kind::Other => each(message.body)?,
            }
            Ok(Progress::More)
        })?;
        if interrupted { Err(NetlinkError::Interrupted) } else { Ok(()) }
    }

    /// Asks for one thing: the body of the answer, or nothing when the kernel only said "done".
    pub fn ask(&mut self, kind: u16, body: &[u8]) -> Result<Option<Vec<u8>>, NetlinkError> {
        self.send(kind, libc::NLM_F_ACK, body)?;
        let mut answer = None;
        self.receive(|message| match message.kind {
            Kind::Done | Kind::Acknowledged => Ok(Progress::Finished),
            Kind::Other => {
                answer = Some(message.body.to_vec());
                Ok(Progress::More)
            }
        })?;
        Ok(answer)
    }

    /// Asks for a change, with `NLM_F_*` flags that say what may be there already.
    pub fn change(&mut self, kind: u16, flags: i32, body: &[u8]) -> Result<(), NetlinkError> {
        self.send(kind, libc::NLM_F_ACK | flags, body)?;
        self.receive(|message| match message.kind {
            Kind::Done | Kind::Acknowledged => Ok(Progress::Finished),
            Kind::Other => Ok(Progress::More),
        })
    }

    fn send(&mut self, kind: u16, flags: i32, body: &[u8]) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).map_err(|_| NetlinkError::Malformed)?;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flag(libc::NLM_F_REQUEST) | flag(flags)).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        let sent = self.inner.send(&message, 0);
        sent.map(|_| ()).map_err(|source| NetlinkError::Call { call: "send()", source })
    }

    fn receive(
        &self,
        mut each: impl FnMut(&Message<'_>) -> Result<Progress, NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let mut datagram = Vec::with_capacity(DATAGRAM);
        loop {
            datagram.clear();
            let received = self
                .inner
                .recv(&mut datagram, libc::MSG_TRUNC)
                .map_err(|source| NetlinkError::Call { call: "recv()", source })?;
            if received == 0 || received > datagram.len() {
                return Err(NetlinkError::Malformed);
            }
            for message in messages(&datagram) {
                let message = message?;
                // What is left of a request that was given up.
                if message.sequence != self.sequence {
                    continue;
                }
                if let Progress::Finished = each(&message)? {
                    return Ok(());
                }
            }
        }
    }
}

enum Progress {
    More,
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Done,
    Acknowledged,
    Other,
}

#[derive(Debug)]
struct Message<'a> {
    kind: Kind,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of a datagram; after the first error there are none.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, NetlinkError>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = split_message(rest);
        rest = next.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(next.map(|(message, _)| message))
    })
}

fn split_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), NetlinkError> {
    let length = u32_at(bytes, 0)? as usize;
    let number = i32::from(u16_at(bytes, 4)?);
    let body = bytes.get(HEADER..length).ok_or(NetlinkError::Malformed)?;
    let kind = match number {
        libc::NLMSG_DONE => {
            // A dump that failed half-way says so here; old kernels send no word at all.
            refusal(body.get(..4).unwrap_or(&[0; 4]))?;
            Kind::Done
        }
        libc::NLMSG_ERROR => {
            refusal(body)?;
            Kind::Acknowledged
        }
        libc::NLMSG_OVERRUN => return Err(NetlinkError::Malformed),
        _ => Kind::Other,
    };
    let (flags, sequence) = (u16_at(bytes, 6)?, u32_at(bytes, 8)?);
    Ok((Message { kind, flags, sequence, body }, bytes.get(aligned(length)..).unwrap_or(&[])))
}

/// The negative error number at the start of an answer; zero is none.
fn refusal(body: &[u8]) -> Result<(), NetlinkError> {
    match i32::from_ne_bytes(u32_at(body, 0)?.to_ne_bytes()) {
        0 => Ok(()),
        error @ ..0 => {
            Err(NetlinkError::Refused(io::Error::from_raw_os_error(error.saturating_neg())))
        }
        _ => Err(NetlinkError::Malformed),
    }
}

/// The attributes of a body: type (without its flags) and value; after the first error none.
pub fn attributes(body: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), NetlinkError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = split_attribute(rest);
        rest = next.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(next.map(|(attribute, _)| attribute))
    })
}

type Attribute<'a> = (u16, &'a [u8]);

fn split_attribute(bytes: &[u8]) -> Result<(Attribute<'_>, &[u8]), NetlinkError> {
    /// `NLA_TYPE_MASK`: the two highest bits say "nested" and "network order".
    const TYPE: u16 = 0x3fff;
    let length = usize::from(u16_at(bytes, 0)?);
    let kind = u16_at(bytes, 2)? & TYPE;
    let value = bytes.get(ATTRIBUTE_HEADER..length).ok_or(NetlinkError::Malformed)?;
    Ok(((kind, value), bytes.get(aligned(length)..).unwrap_or(&[])))
}

/// Packs an attribute. A nested one takes packed attributes as its value.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len())
        .expect("no attribute that the agent sends is larger than 64 KiB");
    let mut packed = Vec::with_capacity(aligned(usize::from(length)));
    packed.extend(length.to_ne_bytes());
    packed.extend(kind.to_ne_bytes());
    packed.extend(value);
    packed.resize(aligned(usize::from(length)), 0);
    packed
}

/// A word in host order.
pub fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, NetlinkError> {
    word_at(bytes, offset).map(u32::from_ne_bytes)
}

/// Two bytes in host order.
pub fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, NetlinkError> {
    word_at(bytes, offset).map(u16::from_ne_bytes)
}

/// Some bytes as they lie.
pub(crate) fn word_at<const N: usize>(
    bytes: &[u8],
    offset: usize,
) -> Result<[u8; N], NetlinkError> {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or(NetlinkError::Malformed)
}

/// Messages and attributes begin at multiples of four bytes.
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The flags of a header are 16 bits wide; libc names them as `int`.
fn flag(bits: i32) -> u16 {
    u16::try_from(bits).expect("the flags of a netlink header fit in 16 bits")
}
