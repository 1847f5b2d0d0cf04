use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
};

use agent_abi::SocketKind;

use super::{
    testing::{storage_map, store},
    *,
};
use crate::testing::Sandbox;

fn addr(text: &str) -> (Addr, u16) {
    let addr: SocketAddr = text.parse().unwrap();
    let ip = match addr.ip() {
        std::net::IpAddr::V4(v4) => Addr::v4(u32::from_ne_bytes(v4.octets())),
        std::net::IpAddr::V6(v6) => {
            let octets = v6.octets();
            let word = |at: usize| u32::from_ne_bytes(*octets[at..].first_chunk().unwrap());
            Addr::v6([word(0), word(4), word(8), word(12)])
        }
    };
    (ip, addr.port())
}

fn sample() -> SocketState {
    SocketState {
        kind: SocketKind::PROXIED,
        rule: 0x0102_0304,
        generation: 0x1112_1314_1516_1718,
        netns: 0x2122_2324_2526_2728,
        dst: addr("[2001:db8::1:2:3]:443").0,
        dst_port: 443,
        protocol: protocol::TCP,
        pad: 0,
    }
}

fn dump() -> Vec<OpenSocket> {
    SockDiag::open().unwrap().dump(None).unwrap()
}

/// The one socket of these ends.
fn only<'a>(sockets: &'a [OpenSocket], local: SocketAddr, peer: &str) -> &'a OpenSocket {
    let ends = (addr(&local.to_string()), addr(peer));
    let found: Vec<_> = sockets.iter().filter(|it| (it.local, it.peer) == ends).collect();
    assert_eq!(found.len(), 1, "{local} to {peer} in {sockets:#?}");
    found[0]
}

#[test]
fn a_dump_finds_every_kind_of_socket_with_its_ends_and_its_state() {
    Sandbox::new().run(|| {
        for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
            let listener = TcpListener::bind(format!("{host}:0")).unwrap();
            let listens_on = listener.local_addr().unwrap();
            let client = TcpStream::connect(listens_on).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (bound, connected) = (UdpSocket::bind(format!("{host}:0")).unwrap(), listens_on);
            let udp = UdpSocket::bind(format!("{host}:0")).unwrap();
            udp.connect(connected).unwrap();
            let none = if host == "[::1]" { "[::]:0" } else { "0.0.0.0:0" };
            let sockets = dump();
            let sees = |local: SocketAddr, peer: &str| {
                let found = only(&sockets, local, peer);
                assert_eq!(found.stored, None);
                (found.protocol, found.state)
            };
            let (tcp, datagrams) = (protocol::TCP, protocol::UDP);
            // A listener on a mapped address has the peer `::`, which no mapped address is.
            let no_peer = if host.starts_with("[::") { "[::]:0" } else { none };
            assert_eq!(sees(listens_on, no_peer), (tcp, State::Listening));
            let own = client.local_addr().unwrap();
            assert_eq!(sees(own, &listens_on.to_string()), (tcp, State::Open));
            let peer = server.peer_addr().unwrap().to_string();
            assert_eq!(sees(server.local_addr().unwrap(), &peer), (tcp, State::Open));
            assert_eq!(sees(bound.local_addr().unwrap(), no_peer), (datagrams, State::Idle));
            let to = listens_on.to_string();
            assert_eq!(sees(udp.local_addr().unwrap(), &to), (datagrams, State::Open));
        }
    });
}

#[test]
fn a_socket_comes_with_what_is_stored_with_it_and_no_other_does() {
    Sandbox::new().run(|| {
        let (map, listener) = (storage_map(), TcpListener::bind("[::1]:0").unwrap());
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        store(&map, &client, &sample());
        let sockets = SockDiag::open().unwrap().dump(Some(map.as_fd())).unwrap();
        assert_eq!(sockets.len(), 3);
        let own = client.local_addr().unwrap();
        let marked = only(&sockets, own, &server.local_addr().unwrap().to_string());
        assert_eq!(marked.stored, Some(sample()));
        assert_eq!(marked.id.cookie(), rustix::net::sockopt::socket_cookie(&client).unwrap());
        assert_eq!(sockets.iter().filter(|socket| socket.stored.is_some()).count(), 1);
    });
}

#[test]
fn more_sockets_than_fit_one_answer_are_all_found() {
    Sandbox::new().run(|| {
        let map = storage_map();
        let sockets: Vec<_> = (0..900).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        for socket in &sockets {
            store(&map, socket, &sample());
        }
        let found = SockDiag::open().unwrap().dump(Some(map.as_fd())).unwrap();
        let stored = found.iter().filter(|it| it.stored == Some(sample())).count();
        assert_eq!((found.len(), stored), (900, 900));
    });
}

#[test]
fn a_destroyed_tcp_connection_is_reset_at_both_ends_and_its_neighbour_is_not() {
    Sandbox::new().run(|| {
        for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
            let listener = TcpListener::bind(format!("{host}:0")).unwrap();
            let listens_on = listener.local_addr().unwrap();
            let connect =
                || (TcpStream::connect(listens_on).unwrap(), listener.accept().unwrap().0);
            let ((mut client, mut server), (mut other, mut others)) = (connect(), connect());
            let sockets = dump();
            let own = client.local_addr().unwrap();
            let id = only(&sockets, own, &listens_on.to_string()).id;
            let mut diag = SockDiag::open().unwrap();
            assert_eq!(diag.destroy(&id).unwrap(), Destroyed::Reset);
            let kind = |result: std::io::Result<usize>| result.unwrap_err().kind();
            assert_eq!(kind(client.read(&mut [0])), ErrorKind::ConnectionAborted, "{host}");
            assert_eq!(kind(server.read(&mut [0])), ErrorKind::ConnectionReset, "{host}");
            assert_eq!(diag.destroy(&id).unwrap(), Destroyed::Gone);
            other.write_all(b"x").unwrap();
            assert_eq!(others.read(&mut [0]).unwrap(), 1);
        }
    });
}

#[test]
fn a_cookie_of_an_earlier_socket_destroys_nothing() {
    Sandbox::new().run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let mut id = only(
            &dump(),
            client.local_addr().unwrap(),
            &listener.local_addr().unwrap().to_string(),
        )
        .id;
        id.raw[ID - 8] ^= 1;
        let mut diag = SockDiag::open().unwrap();
        assert_eq!(diag.destroy(&id).unwrap(), Destroyed::Gone);
        client.write_all(b"x").unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn a_destroyed_udp_socket_is_told_and_loses_its_peer() {
    Sandbox::new().run(|| {
        for host in ["127.0.0.1", "[::1]"] {
            let (far, near) = (format!("{host}:0"), format!("{host}:0"));
            let (far, near) = (UdpSocket::bind(far).unwrap(), UdpSocket::bind(near).unwrap());
            near.connect(far.local_addr().unwrap()).unwrap();
            let sockets = dump();
            let peer = far.local_addr().unwrap().to_string();
            let id = only(&sockets, near.local_addr().unwrap(), &peer).id;
            let mut diag = SockDiag::open().unwrap();
            assert_eq!(diag.destroy(&id).unwrap(), Destroyed::Reset);
            assert_eq!(near.recv(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
            assert!(near.send(b"x").is_err(), "{host}: the peer is still set");
        }
    });
}

/// A message as Linux 6.18 sent it: a client on `[::1]` with [`sample`] stored, less eight bytes of
/// what was stored then, by which the lengths around it are shorter.
#[rustfmt::skip]
const CAPTURED: &[u8] = &[
    0x0a, 0x01, 0x00, 0x00, 0xce, 0x3e, 0xa2, 0x45, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x99, 0x13, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x69, 0x0c, 0x04, 0x00, 0x05, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x08, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x15, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x06, 0x00, 0x16, 0x00, 0x12, 0x00, 0x00, 0x00, 0x44, 0x00, 0x14, 0x80,
    0x40, 0x00, 0x01, 0x80, 0x08, 0x00, 0x02, 0x00, 0x97, 0x00, 0x00, 0x00, 0x34, 0x00, 0x03, 0x00,
    0x03, 0x00, 0x00, 0x00, 0x04, 0x03, 0x02, 0x01, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
    0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x06, 0x00, 0x00, 0x00, 0x20, 0x01, 0x0d, 0xb8,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x02, 0x00, 0x03, 0xbb, 0x01, 0x06, 0x00,
];

#[test]
fn a_captured_message_is_read_and_no_part_of_it_is_read_amiss() {
    let socket = parse(protocol::TCP, CAPTURED).unwrap();
    assert_eq!(socket.stored, Some(sample()));
    assert_eq!(socket.state, State::Open);
    // Cut anywhere, it is an error or, at the edge of an attribute, a socket with less known.
    for length in 0..CAPTURED.len() {
        if let Ok(cut) = parse(protocol::TCP, &CAPTURED[..length]) {
            assert!(length >= MESSAGE);
            assert_eq!((cut.id, cut.local, cut.peer), (socket.id, socket.local, socket.peer));
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>, at in 0..CAPTURED.len(), with: u8) {
        let _ = parse(protocol::TCP, &bytes);
        let mut bent = CAPTURED.to_vec();
        bent[at] = with;
        let _ = parse(protocol::TCP, &bent);
    }
}
