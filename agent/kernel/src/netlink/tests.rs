use super::*;

fn message(kind: i32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
    bytes.extend(u16::try_from(kind).unwrap().to_ne_bytes());
    bytes.extend(0_u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

#[test]
fn a_datagram_of_several_messages_is_taken_apart() {
    let bytes = [message(20, 1, b"odd"), message(20, 2, b""), message(3, 3, &[0; 4])].concat();
    let read: Vec<_> = messages(&bytes).map(Result::unwrap).collect();
    let told: Vec<_> = read.iter().map(|one| (one.kind, one.sequence, one.body)).collect();
    assert_eq!(
        told,
        [(Kind::Other, 1, &b"odd"[..]), (Kind::Other, 2, b""), (Kind::Done, 3, &[0; 4])]
    );
}

#[test]
fn an_error_is_the_kernels_refusal_wherever_it_stands() {
    let denied = (-libc::EPERM).to_ne_bytes();
    for kind in [libc::NLMSG_ERROR, libc::NLMSG_DONE] {
        let error = messages(&message(kind, 1, &denied)).next().unwrap().unwrap_err();
        let NetlinkError::Refused(error) = error else { panic!("{error}") };
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}

#[test]
fn lengths_that_lie_are_errors_and_end_the_reading() {
    let good = message(20, 1, b"body");
    for length in [0_u32, 15, 21, u32::MAX] {
        let mut bytes = good.clone();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let read: Vec<_> = messages(&bytes).collect();
        assert!(matches!(read[..], [Err(NetlinkError::Malformed)]), "{length}");
    }
    for length in [0_u16, 3, 9, u16::MAX] {
        let mut bytes = attribute(1, b"four");
        bytes[..2].copy_from_slice(&length.to_ne_bytes());
        let read: Vec<_> = attributes(&bytes).collect();
        assert!(matches!(read[..], [Err(NetlinkError::Malformed)]), "{length}");
    }
}

#[test]
fn attributes_come_back_as_they_were_packed() {
    /// `NLA_F_NESTED`.
    const NESTED: u16 = 0x8000;
    let inner = [attribute(1, b"a"), attribute(2, b"")].concat();
    let bytes = [attribute(7, b"seven"), attribute(NESTED | 8, &inner)].concat();
    let read: Vec<_> = attributes(&bytes).map(Result::unwrap).collect();
    assert_eq!(read, [(7, &b"seven"[..]), (8, &inner[..])]);
    let nested: Vec<_> = attributes(read[1].1).map(Result::unwrap).collect();
    assert_eq!(nested, [(1, &b"a"[..]), (2, b"")]);
}

#[test]
fn only_the_kernel_reaches_the_socket() {
    let ours = Socket::open(libc::NETLINK_ROUTE).unwrap();
    let mut address = SocketAddr::new(0, 0);
    ours.inner.get_address(&mut address).unwrap();
    let forger = netlink_sys::Socket::new(0).unwrap();
    let refused = forger.send_to(&message(20, 1, b"forged"), &address, 0).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_spin(bytes: Vec<u8>) {
        for message in messages(&bytes).flatten() {
            for (_, value) in attributes(message.body).flatten() {
                let _ = attributes(value).count();
            }
        }
    }
}
