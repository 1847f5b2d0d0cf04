//! The open sockets of a namespace, and how one is reset (`NETLINK_SOCK_DIAG`).
//!
//! A dump gives each socket with what the agent has stored with it (the map SOCKETS), so that the
//! kernel's memory of what a pod dialled survives a restart of the agent. Killing one needs its
//! cookie, which the kernel never gives to two sockets: what is reset is what was judged.
//!
//! Linux: dumps with storages since 5.8, `SOCK_DESTROY` since 4.9 (`CONFIG_INET_DIAG_DESTROY`).

use std::{
    fmt,
    os::fd::{AsRawFd, BorrowedFd},
};

use agent_abi::{Addr, SocketState, protocol};

use super::netlink::{NetlinkError, Socket, attribute, attributes, u16_at, u32_at, word_at};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

/// `SOCK_DIAG_BY_FAMILY` of `include/uapi/linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`, from the same place.
const SOCK_DESTROY: u16 = 21;

/// Bytes of `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const ID: usize = 48;
/// Bytes of `struct inet_diag_msg`.
const MESSAGE: usize = 72;

/// What a TCP or UDP socket is up to, as far as it matters here: `enum tcp_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Can be read or written: TCP past its handshake and not yet closed by both ends, or a
    /// connected UDP socket.
    Open,
    /// Has sent its first packet.
    Connecting,
    /// Waits for connections.
    Listening,
    /// Everything else: unconnected UDP, and TCP before the first or after the last packet.
    Idle,
}

/// Names one socket to the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SocketId {
    family: u8,
    protocol: u8,
    raw: [u8; ID],
}

#[cfg(any(test, feature = "testing"))]
impl Default for SocketId {
    fn default() -> Self {
        Self { family: 0, protocol: 0, raw: [0; ID] }
    }
}

/// A socket of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSocket {
    /// For [`SockDiag::destroy`].
    pub id: SocketId,
    /// See [`State`].
    pub state: State,
    /// TCP or UDP.
    pub protocol: u8,
    /// Its own end.
    pub local: (Addr, u16),
    /// The far end; zero while it is not connected.
    pub peer: (Addr, u16),
    /// What the agent's programs have stored with it. The kernel tells of TCP sockets only:
    /// `inet_sk_diag_fill` leaves UDP's out.
    pub stored: Option<SocketState>,
}

/// What became of a socket that was to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// Its owner gets `ECONNABORTED`, its peer a reset.
    Reset,
    /// It had closed meanwhile.
    Gone,
}

impl SocketId {
    /// The kernel's number for the socket.
    pub fn cookie(&self) -> u64 {
        // Two words, the lower one first, each in host order.
        let word = |at: usize| u32_at(&self.raw, at).map_or(0, u64::from);
        word(ID - 4) << 32 | word(ID - 8)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketId({:#x})", self.cookie())
    }
}

/// Asks about the sockets of the namespace that it was opened in. It keeps that namespace alive.
#[derive(Debug)]
pub struct SockDiag(Socket);

impl SockDiag {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::open(libc::NETLINK_SOCK_DIAG).map(Self)
    }

    /// All TCP and UDP sockets that are not closing, with what `storage` (a map of socket storage
    /// whose values are [`SocketState`]) holds for each TCP socket.
    pub fn dump(
        &mut self,
        storage: Option<BorrowedFd<'_>>,
    ) -> Result<Vec<OpenSocket>, NetlinkError> {
        let mut sockets = Vec::new();
        for protocol in [protocol::TCP, protocol::UDP] {
            for family in [libc::AF_INET, libc::AF_INET6] {
                let mut body = request(narrow(family), protocol, &[0; ID]);
                if let Some(map) = storage {
                    body.extend(storage_request(map));
                }
                self.0.dump(SOCK_DIAG_BY_FAMILY, &body, |message| {
                    sockets.push(parse(protocol, message)?);
                    Ok(())
                })?;
            }
        }
        Ok(sockets)
    }

    /// Resets one socket. UDP sockets lose their peer and are told so.
    pub fn destroy(&mut self, id: &SocketId) -> Result<Destroyed, NetlinkError> {
        match self.0.ask(SOCK_DESTROY, &request(id.family, id.protocol, &id.raw)) {
            Ok(_) => Ok(Destroyed::Reset),
            Err(NetlinkError::Refused(error)) if is_gone(&error) => Ok(Destroyed::Gone),
            Err(error) => Err(error),
        }
    }
}

/// Nothing has this cookie: nothing at all is there (`ENOENT`), or another socket (`ESTALE`).
fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE))
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, protocol: u8, id: &[u8; ID]) -> Vec<u8> {
    /// Every state but `TCP_TIME_WAIT` (6), whose sockets no process owns, and `TCP_BOUND_INACTIVE`
    /// (13), which is asked for only by who wants sockets that have done nothing yet.
    const STATES: u32 = !(1 << 6 | 1 << 13);
    let mut body = vec![family, protocol, 0, 0];
    body.extend(STATES.to_ne_bytes());
    body.extend(id);
    body
}

fn storage_request(map: BorrowedFd<'_>) -> Vec<u8> {
    const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
    const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
    /// `NLA_F_NESTED`.
    const NESTED: u16 = 0x8000;
    let map = attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, &map.as_raw_fd().to_ne_bytes());
    attribute(NESTED | INET_DIAG_REQ_SK_BPF_STORAGES, &map)
}

/// `struct inet_diag_msg` and its attributes.
fn parse(protocol: u8, message: &[u8]) -> Result<OpenSocket, NetlinkError> {
    let [family, state] = word_at(message, 0)?;
    let raw: [u8; ID] = word_at(message, 4)?;
    let end = |port: usize, addr: usize| -> Result<(Addr, u16), NetlinkError> {
        Ok((address(family, &raw, addr)?, u16::from_be(u16_at(&raw, port)?)))
    };
    Ok(OpenSocket {
        id: SocketId { family, protocol, raw },
        state: State::from_kernel(state),
        protocol,
        local: end(0, 4)?,
        peer: end(2, 20)?,
        stored: stored(message.get(MESSAGE..).ok_or(NetlinkError::Malformed)?)?,
    })
}

impl State {
    fn from_kernel(state: u8) -> Self {
        match state {
            // ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING
            1 | 4 | 5 | 8 | 9 | 11 => Self::Open,
            // SYN_SENT
            2 => Self::Connecting,
            // LISTEN
            10 => Self::Listening,
            // CLOSE, TIME_WAIT, and what a listener has half accepted (SYN_RECV, NEW_SYN_RECV)
            _ => Self::Idle,
        }
    }
}

fn address(family: u8, id: &[u8; ID], offset: usize) -> Result<Addr, NetlinkError> {
    let word = |index: usize| word_at(id, offset + 4 * index).map(u32::from_ne_bytes);
    if family == narrow(libc::AF_INET) {
        return Ok(Addr::v4(word(0)?));
    }
    Ok(Addr::v6([word(0)?, word(1)?, word(2)?, word(3)?]))
}

/// What one map holds for the socket; only one is ever asked for.
fn stored(attributes_of: &[u8]) -> Result<Option<SocketState>, NetlinkError> {
    const INET_DIAG_SK_BPF_STORAGES: u16 = 20;
    const SK_DIAG_BPF_STORAGE: u16 = 1;
    const SK_DIAG_BPF_STORAGE_MAP_VALUE: u16 = 3;
    let Some(storages) = find(attributes_of, INET_DIAG_SK_BPF_STORAGES)? else { return Ok(None) };
    let Some(storage) = find(storages, SK_DIAG_BPF_STORAGE)? else { return Ok(None) };
    find(storage, SK_DIAG_BPF_STORAGE_MAP_VALUE)?.map(state).transpose()
}

fn find(body: &[u8], wanted: u16) -> Result<Option<&[u8]>, NetlinkError> {
    for item in attributes(body) {
        if let (kind, value) = item?
            && kind == wanted
        {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn state(value: &[u8]) -> Result<SocketState, NetlinkError> {
    if value.len() != size_of::<SocketState>() {
        return Err(NetlinkError::Malformed);
    }
    let u64_at = |offset| word_at(value, offset).map(u64::from_ne_bytes);
    let words = [u32_at(value, 28)?, u32_at(value, 32)?, u32_at(value, 36)?, u32_at(value, 40)?];
    let [protocol, pad] = word_at(value, 46)?;
    Ok(SocketState {
        kind: u32_at(value, 0)?,
        rule: u32_at(value, 4)?,
        generation: u64_at(8)?,
        netns: u64_at(16)?,
        dst: Addr { family: u32_at(value, 24)?, words_be: words },
        dst_port: u16_at(value, 44)?,
        protocol,
        pad,
    })
}

fn narrow(family: i32) -> u8 {
    u8::try_from(family).expect("the families of the internet are small numbers")
}
