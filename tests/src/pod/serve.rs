//! Servers in a pod: what they send are answers, and no policy may stop them.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    thread,
};

use anyhow::{Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// Echoes on a port, by `tcp` or `udp` in both families by one socket, or by `tcp4` in one; says
/// `ready` first. `udp-peers` has a connected socket for each peer, `udp4-peers` and `udp6-peers` do so
/// in one family.
pub(super) fn run(protocol: &str, port: u16) -> Result<()> {
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match protocol {
        "tcp" => tcp(address),
        "tcp4" => tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        "udp" => udp(address),
        "udp-peers" => udp_peers(address, false),
        "udp4-peers" => udp_peers(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), false),
        "udp6-peers" => udp_peers(address, true),
        _ => bail!("no server for {protocol:?}"),
    }
}

fn tcp(address: SocketAddr) -> Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    println!("ready");
    loop {
        let (mut stream, _) = socket.accept()?;
        thread::spawn(move || {
            let mut buffer = vec![0; 16_384];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
        });
    }
}

/// A socket for each peer, on the same port and connected, as DTLS and QUIC servers have it.
fn udp_peers(address: SocketAddr, only_v6: bool) -> Result<()> {
    let open = || -> Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    let newcomers = open()?;
    println!("ready");
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = newcomers.recv_from(&mut buffer)?;
        let socket = open()?;
        if let Err(error) = socket.connect(peer) {
            eprintln!("connecting to {peer}: {error}");
            continue;
        }
        // A refusal shows as silence at the peer.
        let _ = socket.send(&buffer[..length]);
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut buffer) {
                let _ = socket.send(&buffer[..length]);
            }
        });
    }
}

/// One socket that is never connected, as a name server has it.
fn udp(address: SocketAddr) -> Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    println!("ready");
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        // A refusal shows as silence at the peer, which is what the tests look at.
        let _ = socket.send_to(&buffer[..length], peer);
    }
}
