//! Servers in a pod: what they send are answers, and no policy may stop them.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
};

use anyhow::{Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// Echoes on a port, by `tcp` or `udp` in both families by one socket, or by `tcp4` in one; says
/// `ready` first.
pub(super) fn run(protocol: &str, port: u16) -> Result<()> {
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match protocol {
        "tcp" => tcp(address),
        "tcp4" => tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        "udp" => udp(address),
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

/// One socket that is never connected, as a name server has it.
fn udp(address: SocketAddr) -> Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.bind(&address.into())?;
    let socket = std::net::UdpSocket::from(socket);
    println!("ready");
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        // A refusal shows as silence at the peer, which is what the tests look at.
        let _ = socket.send_to(&buffer[..length], peer);
    }
}
