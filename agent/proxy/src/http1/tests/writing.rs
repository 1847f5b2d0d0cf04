//! Heads that are passed on.

use agent_model::requests::change::HeaderOps;
use rstest::rstest;

use super::{head, read};
use crate::http1::{
    body::Framing,
    edit::Edits,
    head::{Limits, Version},
    response::{self, Asked},
    write::{self, Delivery, Outgoing, Reply},
};

fn sent_on(lines: &[&str], host: Option<&str>, edits: &Edits<'_>) -> String {
    let bytes = head(lines);
    let came = read(&bytes).unwrap().unwrap();
    let host = host.map(str::as_bytes);
    let leaves = Outgoing { target: came.target.of(&bytes), host, edits };
    String::from_utf8(write::request(&bytes, &came, &leaves)).unwrap()
}

fn lines(text: &str) -> Vec<&str> {
    text.split("\r\n").collect()
}

#[rstest]
#[case::case_order_and_repetition_stay(
    &["GET /a HTTP/1.1", "X-b: 1", "hOST: h", "x-B: 2", "x-a:  3 "],
    &["GET /a HTTP/1.1", "X-b: 1", "hOST: h", "x-B: 2", "x-a: 3", "", ""],
)]
#[case::what_belongs_to_the_connection_stays_behind(
    &["GET / HTTP/1.1", "Host: h", "Connection: close, x-a", "X-A: 1", "Keep-Alive: timeout=1", "X-B: 2"],
    &["GET / HTTP/1.1", "Host: h", "X-B: 2", "", ""],
)]
#[case::framing_is_our_own(
    &["POST / HTTP/1.1", "content-length: 007", "Host: h"],
    &["POST / HTTP/1.1", "Host: h", "Content-Length: 7", "", ""],
)]
#[case::an_empty_body_stays_a_body(
    &["POST / HTTP/1.1", "Host: h", "Content-Length: 0"],
    &["POST / HTTP/1.1", "Host: h", "Content-Length: 0", "", ""],
)]
#[case::trailers_are_asked_for_anew(
    &["POST / HTTP/1.1", "Host: h", "TE: trailers, gzip", "Transfer-Encoding: chunked"],
    &["POST / HTTP/1.1", "Host: h", "Connection: TE", "TE: trailers", "Transfer-Encoding: chunked", "", ""],
)]
#[case::an_older_client_gets_a_host(
    &["GET / HTTP/1.0", "X-A: 1"],
    &["GET / HTTP/1.1", "Host: ", "X-A: 1", "", ""],
)]
fn a_request_leaves_as_it_came(#[case] came: &[&str], #[case] leaves: &[&str]) {
    assert_eq!(lines(&sent_on(came, None, &Edits::default())), leaves);
}

fn ops(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderOps {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let remove = remove.iter().map(|name| (*name).to_owned()).collect();
    HeaderOps { set: map(set), add: map(add), remove }
}

#[test]
fn fields_are_set_then_added_then_removed_and_the_destination_comes_after_the_route() {
    let route = ops(&[("x-set", "new"), ("x-gone", "1")], &[("x-added", "2")], &["x-gone"]);
    let destination = ops(&[("x-added", "3")], &[], &[]);
    let edits = Edits::new([&route, &destination]);
    let came = ["GET / HTTP/1.1", "Host: h", "X-Set: old", "X-Added: 1", "X-Gone: 0", "X-Kept: 1"];
    let left = sent_on(&came, None, &edits);
    let wanted = ["GET / HTTP/1.1", "Host: h", "X-Kept: 1", "x-set: new", "x-added: 3", "", ""];
    assert_eq!(lines(&left), wanted);
}

#[test]
fn no_change_makes_a_second_message() {
    let bad = ops(
        &[("content-length", "5"), ("transfer-encoding", "chunked"), ("x", "a\r\nb: c")],
        &[("connection", "close"), ("bad name", "1"), ("", "1")],
        &["content-length", "host"],
    );
    let came = ["POST / HTTP/1.1", "Host: h", "Content-Length: 2"];
    let left = sent_on(&came, None, &Edits::new([&bad]));
    assert_eq!(lines(&left), ["POST / HTTP/1.1", "Host: h", "Content-Length: 2", "", ""]);
}

#[test]
fn a_host_is_rewritten_in_its_place() {
    let edits = ops(&[("host", "inner")], &[], &[]);
    let edits = Edits::new([&edits]);
    let came = ["GET / HTTP/1.1", "A: 1", "Host: h", "B: 2"];
    let left = sent_on(&came, edits.host(), &edits);
    assert_eq!(lines(&left), ["GET / HTTP/1.1", "A: 1", "Host: inner", "B: 2", "", ""]);
}

fn answered(came: &[&str], asked: Asked, reply: &Reply<'_>) -> String {
    let bytes = head(came);
    let response = response::read(&bytes, asked, &Limits::default()).unwrap().unwrap();
    String::from_utf8(write::response(&bytes, &response, reply)).unwrap()
}

#[test]
fn an_answer_says_how_it_ends_and_whether_the_connection_does() {
    let (edits, other) = (Edits::default(), Asked::Other { upgrade: false });
    let to = |to, delivery| Reply { edits: &edits, delivery, to, closes: false };
    let newer = |framing| to(Version::Http11, Delivery::Framed(framing));

    let came = ["HTTP/1.1 200 Very Fine", "X-a: 1", "Content-Length: 3", "Connection: close"];
    let leaves = ["HTTP/1.1 200 Very Fine", "X-a: 1", "Content-Length: 3", "", ""];
    assert_eq!(lines(&answered(&came, other, &newer(Framing::Length(3)))), leaves);

    let leaves = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", ""];
    let old = ["HTTP/1.0 200 OK"];
    assert_eq!(lines(&answered(&old, other, &newer(Framing::Chunked))), leaves);

    let last = Reply { closes: true, ..to(Version::Http11, Delivery::Bodiless) };
    let leaves = ["HTTP/1.1 200 OK", "Content-Length: 9", "Connection: close", "", ""];
    let came = ["HTTP/1.1 200 OK", "Content-Length: 9"];
    assert_eq!(lines(&answered(&came, Asked::Head, &last)), leaves);

    let older = to(Version::Http10, Delivery::Bodiless);
    let leaves = ["HTTP/1.1 204 No", "Connection: keep-alive", "", ""];
    let came = ["HTTP/1.1 204 No", "Content-Length: 9"];
    assert_eq!(lines(&answered(&came, other, &older)), leaves);
}
