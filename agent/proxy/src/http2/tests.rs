//! Heads from one version to the other.

use agent_model::requests::change::HeaderOps;
use http::{Method, Request, Response, request::Parts};

use super::{
    request::{Checked, check, from_http1, onward, to_http1},
    response::{self, Reply},
    trailers,
};
use crate::http1::{
    Refusal,
    body::Framing,
    edit::Edits,
    head::{Limits, Version},
    request,
    response::{self as http1_response, Asked},
};

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn checked(
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    ends: bool,
) -> Result<Checked, Refusal> {
    check(&parts(method, uri, fields), ends)
}

#[test]
fn what_http_1_would_take_for_something_else_is_refused() {
    let uri = "http://a/x";
    let refused = |fields: &[(&str, &str)], ends| checked("POST", uri, fields, ends).unwrap_err();
    assert_eq!(refused(&[("host", "b")], true), Refusal::HostMismatch);
    assert_eq!(refused(&[("host", "a"), ("host", "a")], true), Refusal::Host);
    assert_eq!(
        refused(&[("content-length", "3"), ("content-length", "3")], false),
        Refusal::ContentLength
    );
    assert_eq!(refused(&[("content-length", "+3")], false), Refusal::ContentLength);
    assert_eq!(refused(&[("content-length", "3")], true), Refusal::ContentLength);
    assert_eq!(checked("GET", "http://u@a/", &[], true), Err(Refusal::Host));
    assert_eq!(checked("GET", "/x", &[], true), Err(Refusal::Host));
}

#[test]
fn a_body_is_delimited_by_its_length_or_by_chunks() {
    let framing = |method, fields: &[(&str, &str)], ends| {
        checked(method, "http://a/x?y=1", fields, ends).map(|one| one.framing)
    };
    assert_eq!(framing("GET", &[], true), Ok(Framing::Empty));
    assert_eq!(framing("POST", &[("content-length", "0")], true), Ok(Framing::Empty));
    assert_eq!(framing("POST", &[("content-length", "9")], false), Ok(Framing::Length(9)));
    assert_eq!(framing("POST", &[], false), Ok(Framing::Chunked));
    let one = checked("GET", "http://A:80/x?y=1", &[("host", "a:80")], true).unwrap();
    assert_eq!((one.authority.as_str(), one.target.as_str()), ("A:80", "/x?y=1"));
}

#[test]
fn a_request_becomes_one_of_http_1() {
    let fields = [
        ("accept", "*/*"),
        ("cookie", "a=1"),
        ("x-gone", "1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("content-length", "4"),
    ];
    let parts = parts("POST", "http://a/x", &fields);
    let ops = HeaderOps {
        set: [("x-set".to_owned(), "one".to_owned())].into(),
        remove: vec!["x-gone".to_owned()],
        ..HeaderOps::default()
    };
    let edits = Edits::new([&ops]);
    let bytes = to_http1(&parts, "/y", "b", &edits, Framing::Length(4));
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        "POST /y HTTP/1.1\r\nhost: b\r\naccept: */*\r\ncookie: a=1; b=2\r\nx-set: one\r\n\
         connection: TE\r\nte: trailers\r\ncontent-length: 4\r\n\r\n"
    );
    // What is written is read.
    let read = request::read(&bytes, &Limits::default()).unwrap().unwrap();
    assert_eq!(read.framing, Framing::Length(4));
}

#[test]
fn a_request_of_http_1_becomes_one_of_http_2() {
    let head = b"PUT /x?y HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nConnection: x-two, TE\r\nX-Two: 2\r\n\
                 TE: trailers\r\nKeep-Alive: 5\r\nContent-Length: 3\r\n\r\n";
    let came = request::read(head, &Limits::default()).unwrap().unwrap();
    let edits = Edits::default();
    let request = from_http1(head, &came, "/z", "b:81", &edits).unwrap();
    assert_eq!(request.uri(), "http://b:81/z");
    let fields: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    assert_eq!(fields, ["x-one: 1", "te: trailers", "content-length: 3"]);
}

#[test]
fn from_http_2_to_http_2_all_but_the_host_stays() {
    let parts = parts(
        "GET",
        "http://a/x",
        &[("host", "a"), ("te", "trailers"), ("x-one", "1"), ("te", "gzip")],
    );
    let request = onward(&parts, "/", "b", &Edits::default()).unwrap();
    assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::GET, "http://b/"));
    assert_eq!(request.headers().len(), 2, "{:?}", request.headers());
}

#[test]
fn answers_go_both_ways() {
    let head =
        b"HTTP/1.1 200 Fine\r\nX-One: 1\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    let asked = Asked::Other { upgrade: false };
    let came = http1_response::read(head, asked, &Limits::default()).unwrap().unwrap();
    let answer = response::from_http1(head, &came, &Edits::default()).unwrap();
    assert_eq!(answer.headers().len(), 1);
    let answer = Response::builder().status(404).header("x-one", "1").body(()).unwrap();
    let (parts, ()) = answer.into_parts();
    let shown = |framing, to, closes| {
        let edits = &Edits::default();
        let reply = Reply { edits, framing, to, closes };
        String::from_utf8(response::to_http1(&parts, &reply)).unwrap()
    };
    let framing = |ends, bodiless, to| response::framing(&parts, ends, bodiless, to);
    assert_eq!(
        shown(framing(false, false, Version::Http11), Version::Http11, false),
        "HTTP/1.1 404 Not Found\r\nx-one: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(
        shown(framing(true, false, Version::Http11), Version::Http11, true),
        "HTTP/1.1 404 Not Found\r\nx-one: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(framing(false, false, Version::Http10), Some(Framing::UntilClose));
    assert_eq!(framing(false, true, Version::Http11), None);
}

#[test]
fn trailers_go_both_ways_without_what_belongs_in_a_head() {
    let fields =
        trailers::from_lines(b"grpc-status: 0\r\nContent-Length: 4\r\nHost: a\r\nX-Sum: 1\r\n");
    assert_eq!(fields.len(), 2);
    assert_eq!(trailers::to_lines(&fields), b"grpc-status: 0\r\nx-sum: 1\r\n");
}
