//! A namespace's own addresses, as rtnetlink lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_kernel::{
    netlink::{NetlinkError, Socket, attributes},
    netns::{NetNs, NetNsError, Worker},
};
use thiserror::Error;

/// Bytes of `struct ifaddrmsg`.
const INFO: usize = 8;
/// A dump that changed under way is asked for this many times.
const ATTEMPTS: usize = 5;

/// Why they could not be listed.
#[derive(Debug, Error)]
pub(super) enum AddressError {
    /// The namespace cannot be entered.
    #[error("the pod's namespace cannot be entered")]
    Namespace(#[from] NetNsError),
    /// The kernel does not list them.
    #[error("the pod's addresses cannot be listed")]
    Netlink(#[from] NetlinkError),
}

/// The addresses of a namespace, without those of loopback and of one link only.
pub(super) async fn of(worker: &Worker, namespace: &NetNs) -> Result<Vec<IpAddr>, AddressError> {
    let mut socket = worker.run(namespace, || Socket::open(libc::NETLINK_ROUTE)).await??;
    let ask = move || {
        let mut outcome = list(&mut socket);
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Err(NetlinkError::Interrupted)) {
                break;
            }
            outcome = list(&mut socket);
        }
        outcome
    };
    Ok(tokio::task::spawn_blocking(ask).await.map_err(|_| NetNsError::Lost)??)
}

fn list(socket: &mut Socket) -> Result<Vec<IpAddr>, NetlinkError> {
    let mut found = Vec::new();
    socket.dump(libc::RTM_GETADDR, &[0; INFO], |message| {
        let (mut own, mut other) = (None, None);
        for item in attributes(message.get(INFO..).ok_or(NetlinkError::Malformed)?) {
            match item? {
                (libc::IFA_LOCAL, value) => own = address(value),
                // On a point-to-point link this is the far end's.
                (libc::IFA_ADDRESS, value) => other = address(value),
                _ => {}
            }
        }
        found.extend(own.or(other).filter(|addr| !is_inner(addr)));
        Ok(())
    })?;
    Ok(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

fn is_inner(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}
