//! A namespace's links as rtnetlink lists them.

use std::os::fd::{AsRawFd, BorrowedFd};

use agent_kernel::netlink::{NetlinkError, Socket, attribute, attributes, u16_at, u32_at};

/// Bytes of `struct ifinfomsg`.
const INFO: usize = 16;
/// `RTEXT_FILTER_SKIP_STATS`: nothing reads the counters, and they are most of the bytes.
const SKIP_STATS: u32 = 1 << 3;

/// What is read of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) name: String,
    /// `IFLA_INFO_KIND`; hardware has none.
    pub(super) kind: Option<String>,
    /// `IFLA_LINK`: the link below, or a veth's other end.
    pub(super) lower: Option<u32>,
    /// `IFLA_LINK_NETNSID`: the namespace of `lower` when it is another one, by the number that
    /// this namespace knows it by.
    pub(super) lower_namespace: Option<i32>,
    pub(super) loopback: bool,
    /// Whether frames may leave by it: it is up, and so is what it leads to.
    pub(super) is_up: bool,
}

/// Asks about the links of the namespace that it was opened in.
pub(super) struct LinkSocket(Socket);

impl LinkSocket {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Socket::open(libc::NETLINK_ROUTE).map(Self)
    }

    pub(super) fn list(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        self.0.dump(libc::RTM_GETLINK, &question(0), |message| {
            links.push(parse(message)?);
            Ok(())
        })?;
        Ok(links)
    }

    /// A link by its number, if there is one. A node has hundreds of links, and a pod a few.
    pub(super) fn one(&mut self, ifindex: u32) -> Result<Option<Link>, NetlinkError> {
        match self.0.ask(libc::RTM_GETLINK, &question(ifindex)) {
            Ok(answer) => answer.as_deref().map(parse).transpose(),
            Err(NetlinkError::Refused(error)) if error.raw_os_error() == Some(libc::ENODEV) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The number by which this namespace knows another one, if it does.
    pub(super) fn id_of(&mut self, other: BorrowedFd<'_>) -> Result<Option<i32>, NetlinkError> {
        // `include/uapi/linux/net_namespace.h`.
        const NETNSA_NSID: u16 = 1;
        const NETNSA_FD: u16 = 3;
        let mut body = vec![0; 4];
        body.extend(attribute(NETNSA_FD, &other.as_raw_fd().to_ne_bytes()));
        let answer = self.0.ask(libc::RTM_GETNSID, &body)?.ok_or(NetlinkError::Malformed)?;
        for item in attributes(answer.get(4..).ok_or(NetlinkError::Malformed)?) {
            if let (NETNSA_NSID, value) = item? {
                // -1 stands for "none yet".
                return Ok(Some(signed(value)?).filter(|id| *id >= 0));
            }
        }
        Err(NetlinkError::Malformed)
    }
}

/// The body of `RTM_GETLINK`; a dump has no link's number.
fn question(ifindex: u32) -> Vec<u8> {
    let mut body = vec![0; INFO];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body.extend(attribute(libc::IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes()));
    body
}

/// Reads a link from the body of a message.
pub(super) fn parse(message: &[u8]) -> Result<Link, NetlinkError> {
    /// `IFF_UP` and `IFF_LOWER_UP`.
    const UP: u32 = 1 | 1 << 16;
    let mut link = Link {
        ifindex: u32_at(message, 4)?,
        loopback: u16_at(message, 2)? == libc::ARPHRD_LOOPBACK,
        is_up: u32_at(message, 8)? & UP == UP,
        ..Link::default()
    };
    for item in attributes(message.get(INFO..).ok_or(NetlinkError::Malformed)?) {
        match item? {
            (libc::IFLA_IFNAME, value) => link.name = text(value),
            (libc::IFLA_LINK, value) => link.lower = Some(u32_at(value, 0)?),
            (libc::IFLA_LINK_NETNSID, value) => link.lower_namespace = Some(signed(value)?),
            (libc::IFLA_LINKINFO, value) => link.kind = kind(value)?,
            _ => {}
        }
    }
    Ok(link)
}

fn kind(info: &[u8]) -> Result<Option<String>, NetlinkError> {
    for item in attributes(info) {
        if let (libc::IFLA_INFO_KIND, value) = item? {
            return Ok(Some(text(value)));
        }
    }
    Ok(None)
}

fn signed(value: &[u8]) -> Result<i32, NetlinkError> {
    u32_at(value, 0).map(|word| i32::from_ne_bytes(word.to_ne_bytes()))
}

/// A C string, in whatever encoding its maker chose.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}
