//! Hellos, whole and broken.

use super::*;

fn sized<const N: usize>(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - N..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized::<2>(content)].concat()
}

fn host_name(name: &[u8]) -> Vec<u8> {
    [&[HOST_NAME][..], &sized::<2>(name)].concat()
}

fn asks_for(name: &[u8]) -> Vec<u8> {
    extension(0, &sized::<2>(&host_name(name)))
}

/// A hello with these extensions, as a message.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(sized::<1>(&[9; 32]));
    body.extend(sized::<2>(&[0x13, 0x01, 0x13, 0x02]));
    body.extend(sized::<1>(&[0]));
    if !extensions.is_empty() {
        body.extend(sized::<2>(&extensions.concat()));
    }
    [&[CLIENT_HELLO][..], &sized::<3>(&body)].concat()
}

/// A message in records of so many bytes.
fn records(message: &[u8], most: usize) -> Vec<u8> {
    message.chunks(most).flat_map(|part| [&[22, 3, 1][..], &sized::<2>(part)].concat()).collect()
}

/// What a client sends that asks for a name.
pub(crate) fn asking(name: &str) -> Vec<u8> {
    let versions = extension(43, &sized::<1>(&[3, 4]));
    records(&hello(&[versions, asks_for(name.as_bytes())]), MOST_IN_RECORD)
}

fn named(name: &str) -> Hello {
    Hello::Tls(Some(name.to_owned()))
}

#[test]
fn a_hello_has_its_name_in_lower_case() {
    assert_eq!(read(&asking("API.example.com")), named("api.example.com"));
    assert_eq!(read(&asking("api.example.com.")), named("api.example.com"), "a dot at its end");
}

#[test]
fn bytes_after_a_hello_are_not_looked_at() {
    let early = [asking("a.example.com"), b"\x17\x03\x03\x00\x01x".to_vec()].concat();
    assert_eq!(read(&early), named("a.example.com"));
}

#[test]
fn a_hello_without_a_name_is_tls() {
    for extensions in [&[][..], &[extension(43, &[2, 3, 4])]] {
        assert_eq!(read(&records(&hello(extensions), 100)), Hello::Tls(None));
    }
}

#[test]
fn a_hello_in_pieces_is_read_however_it_is_cut() {
    let message = hello(&[asks_for(b"a.example.com"), extension(21, &[0; 300])]);
    for most in [1, 3, 4, 5, 60, 511, MOST_IN_RECORD] {
        let bytes = records(&message, most);
        assert_eq!(read(&bytes), named("a.example.com"), "records of {most}");
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), Hello::Unfinished, "{length} of {}", bytes.len());
        }
    }
}

#[test]
fn of_an_encrypted_hello_the_outer_name_is_read() {
    let inner = extension(0xfe0d, &[0; 200]);
    let hello = hello(&[inner, asks_for(b"public.example.com")]);
    assert_eq!(read(&records(&hello, MOST_IN_RECORD)), named("public.example.com"));
}

#[test]
fn what_may_be_read_in_two_ways_has_no_name() {
    let two = [host_name(b"a.example.com"), host_name(b"b.example.com")].concat();
    let other_kind = [&[1][..], &sized::<2>(b"a.example.com")].concat();
    let list = |list: &[u8]| extension(0, &sized::<2>(list));
    let spare = [sized::<2>(&host_name(b"a.example.com")), vec![0]].concat();
    for extensions in [
        vec![asks_for(b"a.example.com"), asks_for(b"b.example.com")],
        vec![asks_for(b"a.example.com"), asks_for(b"a.example.com")],
        vec![list(&two)],
        vec![list(&other_kind)],
        vec![list(&[])],
        vec![extension(0, &spare)],
        vec![extension(0, &[])],
        vec![asks_for(b"")],
        vec![asks_for(b".")],
        vec![asks_for(b"a..example.com")],
        vec![asks_for(b"a.example.com\0.evil.example")],
        vec![asks_for(b"a.example.com/x")],
        vec![asks_for("ä.example.com".as_bytes())],
        vec![asks_for(b"*.example.com")],
        vec![asks_for(&[b'a'; 64])],
        vec![asks_for(&b"a.".repeat(128))],
    ] {
        let found = read(&records(&hello(&extensions), MOST_IN_RECORD));
        assert_eq!(found, Hello::Tls(None), "{extensions:?}");
    }
}

#[test]
fn what_is_no_hello_is_told_at_its_first_wrong_byte() {
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x05\x02",
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00",
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x01\x00\x02\x01\x00",
    ] {
        assert_eq!(read(bytes), Hello::Other, "{bytes:?}");
    }
    let mut alert_between = records(&hello(&[asks_for(b"a.example.com")]), 20);
    alert_between[25] = 21;
    assert_eq!(read(&alert_between), Hello::Other);
}

#[test]
fn a_hello_whose_lengths_lie_is_none() {
    let whole = hello(&[asks_for(b"a.example.com")]);
    // A byte more or less inside than the message says.
    let mut longer = whole.clone();
    longer.push(0);
    longer[3] += 1;
    let mut shorter = whole.clone();
    shorter.pop();
    shorter[3] -= 1;
    for message in [longer, shorter] {
        assert_eq!(read(&records(&message, MOST_IN_RECORD)), Hello::Other);
    }
}

#[test]
fn a_hello_without_an_end_is_given_up() {
    let message = [&[CLIENT_HELLO, 0, 0xff, 0xff][..], &vec![0; 0x9000]].concat();
    let bytes = records(&message, 1);
    assert_eq!(read(&bytes[..MOST - 1]), Hello::Unfinished);
    assert_eq!(read(&bytes[..MOST]), Hello::Other);
}

/// Whatever comes, reading it ends, and more bytes never take a decision back.
#[test]
fn any_bytes_are_read() {
    let mut random = fastrand::Rng::with_seed(13);
    for _ in 0..2_000 {
        let mut bytes = records(&hello(&[asks_for(b"a.example.com")]), random.usize(1..200));
        for _ in 0..random.usize(0..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let mut decided = None;
        for length in 0..=bytes.len() {
            let found = read(&bytes[..length]);
            match &decided {
                Some(before) => assert_eq!(&found, before, "{bytes:?}"),
                None if found != Hello::Unfinished => decided = Some(found),
                None => {}
            }
        }
    }
}
