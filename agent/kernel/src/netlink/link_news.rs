//! What the kernel tells of a namespace's links without being asked (`RTNLGRP_LINK`).
//!
//! It is a hint and no more: the receiver asks for the links as they are. A process of the pod with
//! `CAP_NET_ADMIN` could send such messages too, and can make the kernel send more than fit in the
//! socket. The kernel then says so (`ENOBUFS`), and everything is to be looked at.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use tokio::io::unix::AsyncFd;

use super::{NetlinkError, messages};

/// `RTNLGRP_LINK` of `linux/rtnetlink.h`.
const GROUP: u32 = 1;
/// A message about a link has one or two thousand bytes. One that is cut is as good as lost.
const DATAGRAM: usize = 16 * 1024;
/// So many are read before others have their turn.
const AT_ONCE: usize = 256;

/// A socket that is told of changes of the links of the namespace that it was opened in.
#[derive(Debug)]
pub struct LinkNews(netlink_sys::Socket);

/// The same, as the runtime waits for it.
#[derive(Debug)]
pub struct LinkListener(AsyncFd<LinkNews>);

/// What has been heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// All that was said.
    Everything,
    /// Something was lost: any link may have changed.
    Overrun,
}

impl LinkNews {
    /// Opens one in the calling thread's namespace. From here on no change is missed.
    pub fn open() -> Result<Self, NetlinkError> {
        let failed = |call| move |source| NetlinkError::Call { call, source };
        let protocol = isize::try_from(libc::NETLINK_ROUTE).map_err(|_| NetlinkError::Malformed)?;
        let mut socket = netlink_sys::Socket::new(protocol).map_err(failed("socket()"))?;
        socket.bind_auto().map_err(failed("bind()"))?;
        socket.add_membership(GROUP).map_err(failed("NETLINK_ADD_MEMBERSHIP"))?;
        socket.set_non_blocking(true).map_err(failed("FIONBIO"))?;
        Ok(Self(socket))
    }

    /// Has the caller's runtime wait for it.
    pub fn listen(self) -> Result<LinkListener, NetlinkError> {
        let failed = |source| NetlinkError::Call { call: "epoll_ctl()", source };
        // SAFETY: the socket owns its descriptor, and nothing replaces or closes it while it lives.
        let registered = unsafe { AsyncFd::register(self) };
        registered.map(LinkListener).map_err(|error| failed(error.into()))
    }

    /// Reads one datagram.
    fn read(&self, each: &mut impl FnMut(&[u8])) -> io::Result<Heard> {
        let mut datagram = Vec::with_capacity(DATAGRAM);
        let length = match self.0.recv(&mut datagram, libc::MSG_TRUNC) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Heard::Overrun),
            outcome => outcome?,
        };
        if length > datagram.len() {
            return Ok(Heard::Overrun);
        }
        for message in messages(&datagram) {
            match message {
                Ok(message) => each(message.body),
                Err(_) => return Ok(Heard::Overrun),
            }
        }
        Ok(Heard::Everything)
    }
}

impl AsRawFd for LinkNews {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl LinkListener {
    /// Waits for news, and hands out the body of each message: a `struct ifinfomsg` and attributes.
    /// Nothing is lost when the caller gives up while it waits.
    pub async fn next(&self, mut each: impl FnMut(&[u8])) -> Result<Heard, NetlinkError> {
        let failed = |call| move |source| NetlinkError::Call { call, source };
        loop {
            let mut ready = self.0.readable().await.map_err(failed("epoll_wait()"))?;
            let mut heard = None;
            for _ in 0..AT_ONCE {
                let Ok(one) = ready.try_io(|socket| socket.get_ref().read(&mut each)) else {
                    break;
                };
                heard = heard.max(Some(one.map_err(failed("recv()"))?));
            }
            if let Some(heard) = heard {
                return Ok(heard);
            }
        }
    }
}
