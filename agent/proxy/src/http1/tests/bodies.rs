use rstest::rstest;

use crate::http1::{
    Refusal,
    body::{Body, Framing},
};

/// Reads a body from pieces of a connection: its bytes, and what is left after its end.
fn collect(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), Refusal> {
    let mut body = Body::new(framing);
    let (mut data, mut ended) = (Vec::new(), false);
    let mut rest = Vec::new();
    for piece in pieces {
        rest.extend_from_slice(piece);
        while !ended {
            let step = body.next(&rest)?;
            data.extend_from_slice(&rest[step.skip..step.skip + step.data]);
            rest.drain(..step.skip + step.data);
            ended = step.is_last;
            if step.skip + step.data == 0 {
                break;
            }
        }
    }
    assert_eq!(body.may_end(), ended || framing == Framing::UntilClose);
    Ok((data, rest, ended))
}

#[rstest]
#[case::length(Framing::Length(5), b"hello!", b"hello", b"!")]
#[case::none(Framing::Empty, b"!", b"", b"!")]
#[case::chunks(Framing::Chunked, b"2\r\nhe\r\n003;a=\"b c\"\r\nllo\r\n0\r\n\r\n!", b"hello", b"!")]
#[case::trailers(Framing::Chunked, b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n!", b"hello", b"!")]
#[case::big_digits(Framing::Chunked, b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b"")]
fn a_body_is_the_same_wherever_it_was_split(
    #[case] framing: Framing,
    #[case] bytes: &[u8],
    #[case] data: &[u8],
    #[case] rest: &[u8],
) {
    let expected = Ok((data.to_vec(), rest.to_vec(), true));
    assert_eq!(collect(framing, &[bytes]), expected);
    for at in 0..=bytes.len() {
        let (one, other) = bytes.split_at(at);
        assert_eq!(collect(framing, &[one, other]), expected, "{at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(collect(framing, &single), expected);
}

#[rstest]
#[case::no_size(b"\r\nhe")]
#[case::no_digit(b"g\r\n")]
#[case::signed(b"+2\r\nhe\r\n")]
#[case::prefixed(b"0x2\r\nhe\r\n")]
#[case::blank_before(b" 2\r\nhe\r\n")]
#[case::blank_behind(b"2 \r\nhe\r\n")]
#[case::seventeen_digits(b"00000000000000002\r\nhe\r\n")]
#[case::lf_after_the_size(b"2\nhe\r\n")]
#[case::lf_in_an_extension(b"2;a\nhe\r\n")]
#[case::cr_in_an_extension(b"2;a\rb\r\nhe\r\n")]
#[case::nul_in_an_extension(b"2;\0\r\nhe\r\n")]
#[case::longer_than_its_size(b"2\r\nhello\r\n")]
#[case::lf_after_the_data(b"2\r\nhe\n")]
#[case::shorter_than_its_size(b"3\r\nhe\r\n0\r\n\r\n")]
fn malformed_chunks_are_refused(#[case] bytes: &[u8]) {
    assert_eq!(collect(Framing::Chunked, &[bytes]), Err(Refusal::Chunk));
}

#[rstest]
#[case::lf_alone(b"0\r\nX: 1\n\r\n")]
#[case::no_colon(b"0\r\nX\r\n\r\n")]
#[case::folded(b"0\r\nX: 1\r\n 2\r\n\r\n")]
#[case::cr(b"0\r\n\rX: 1\r\n\r\n")]
fn malformed_trailers_are_refused(#[case] bytes: &[u8]) {
    assert_eq!(collect(Framing::Chunked, &[bytes]), Err(Refusal::Trailer));
}

#[test]
fn floods_in_a_chunked_body_are_bounded() {
    let extension = [b"1;".to_vec(), vec![b'a'; 17 * 1024]].concat();
    assert_eq!(collect(Framing::Chunked, &[&extension]), Err(Refusal::Chunk));
    let many = b"1;aaaaaaaaaaaaaaaa\r\nx\r\n".repeat(1100);
    assert_eq!(collect(Framing::Chunked, &[&many]), Err(Refusal::Chunk), "in all together");
    let trailer = [b"0\r\nX: ".to_vec(), vec![b'a'; 9 * 1024]].concat();
    assert_eq!(collect(Framing::Chunked, &[&trailer]), Err(Refusal::Trailer));
}

#[test]
fn a_body_that_is_cut_short_is_not_whole() {
    for (framing, bytes) in [
        (Framing::Length(3), &b"he"[..]),
        (Framing::Chunked, b"2\r\nhe\r\n"),
        (Framing::Chunked, b"0\r\n"),
        (Framing::Chunked, b"0\r\n\r"),
    ] {
        let mut body = Body::new(framing);
        let mut at = 0;
        while let step = body.next(&bytes[at..]).unwrap()
            && step.skip + step.data > 0
        {
            at += step.skip + step.data;
        }
        assert!(!body.may_end(), "{framing:?}");
    }
    assert!(Body::new(Framing::UntilClose).may_end());
}

/// A chunked body that is written at random is read as what was written.
#[test]
fn what_is_written_in_chunks_is_what_is_read() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..2_000 {
        let (mut written, mut coded) = (Vec::new(), Vec::new());
        for _ in 0..random.usize(..6) {
            let chunk: Vec<u8> = (0..random.usize(1..40)).map(|_| random.u8(..)).collect();
            let zeros = "0".repeat(random.usize(..4));
            coded.extend_from_slice(format!("{zeros}{:x}\r\n", chunk.len()).as_bytes());
            coded.extend_from_slice(&chunk);
            coded.extend_from_slice(b"\r\n");
            written.extend_from_slice(&chunk);
        }
        coded.extend_from_slice(b"0\r\n\r\nnext");
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut left = &coded[..];
        while !left.is_empty() {
            let (piece, rest) = left.split_at(random.usize(1..=left.len()));
            pieces.push(piece);
            left = rest;
        }
        assert_eq!(collect(Framing::Chunked, &pieces), Ok((written, b"next".to_vec(), true)));
    }
}
