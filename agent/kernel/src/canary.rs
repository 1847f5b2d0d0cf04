//! Proof that the hooks see the agent's own connections. They do not when the agent runs outside
//! the cgroup where they are attached, and then layer 3 would take what it dials for the pods for the pods'
//! own frames. No path or mount tells this surely in a container, so it is tried.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
};

use agent_abi::{Addr, FlowKey, OpenedBy, protocol};
use socket2::{Domain, Protocol, Socket, Type};

use super::maps::{Maps, Mark};

/// Opens a connection of the agent's own, within the host's namespace, and looks whether the
/// programs have seen it.
pub(crate) fn hooks_see_us(maps: &Maps, host_netns: u64) -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let peer = listener.local_addr()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    maps.mark(socket.as_fd())?;
    socket.connect(&peer.into())?;
    let own: SocketAddr = TcpStream::from(socket).local_addr()?;
    let key = FlowKey {
        netns: host_netns,
        peer: Addr::v4(u32::from(Ipv4Addr::LOCALHOST).to_be()),
        peer_port: peer.port(),
        pod_port: own.port(),
        protocol: u32::from(protocol::TCP),
        pad: 0,
    };
    let seen = maps.flows.get(&key).map_err(|error| error.source)?;
    maps.flows.remove(&key).map_err(|error| error.source)?;
    Ok(seen.is_some_and(|state| state.opened_by == OpenedBy::AGENT))
}
