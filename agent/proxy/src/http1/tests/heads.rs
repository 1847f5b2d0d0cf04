use rstest::rstest;

use super::{head, passed_on, read};
use crate::http1::{
    Refusal,
    body::Framing,
    head::{Limits, Version},
    request,
    response::{self, Asked},
};

const ONE: &str = "GET / HTTP/1.1";
const HOST: &str = "Host: a";

/// Each of these is read by some server as something else than by another one.
#[rstest]
#[case::both_framings(&["Content-Length: 3", "Transfer-Encoding: chunked"], Refusal::TwoFramings)]
#[case::two_equal_lengths(&["Content-Length: 3", "Content-Length: 3"], Refusal::ContentLength)]
#[case::a_list_of_lengths(&["Content-Length: 3, 3"], Refusal::ContentLength)]
#[case::signed_length(&["Content-Length: +3"], Refusal::ContentLength)]
#[case::negative_length(&["Content-Length: -0"], Refusal::ContentLength)]
#[case::hexadecimal_length(&["Content-Length: 0x3"], Refusal::ContentLength)]
#[case::empty_length(&["Content-Length:"], Refusal::ContentLength)]
#[case::long_length(&["Content-Length: 99999999999999999999"], Refusal::ContentLength)]
#[case::two_codings(&["Transfer-Encoding: gzip, chunked"], Refusal::TransferEncoding)]
#[case::coding_twice(
    &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    Refusal::TransferEncoding
)]
#[case::unknown_coding(&["Transfer-Encoding: xchunked"], Refusal::TransferEncoding)]
#[case::identity(&["Transfer-Encoding: identity"], Refusal::TransferEncoding)]
#[case::coding_in_quotes(&["Transfer-Encoding: \"chunked\""], Refusal::TransferEncoding)]
#[case::coding_with_parameter(&["Transfer-Encoding: chunked;q=1"], Refusal::TransferEncoding)]
#[case::vertical_tab_before_a_coding(&["Transfer-Encoding: \u{b}chunked"], Refusal::Field)]
#[case::space_before_the_colon(&["Content-Length : 3"], Refusal::Field)]
#[case::folded(&["X: a", " b"], Refusal::Field)]
#[case::folded_first(&[" X: a"], Refusal::Field)]
#[case::nul(&["X: a\0b"], Refusal::Field)]
#[case::no_name(&[": a"], Refusal::Field)]
#[case::no_colon(&["X"], Refusal::Field)]
#[case::cr_in_a_value(&["X: a\rb"], Refusal::Field)]
#[case::lf_alone(&["X: a\nY: b"], Refusal::LineEnd)]
#[case::two_hosts(&["Host: a"], Refusal::Host)]
fn shapes_of_smuggling_are_refused(#[case] fields: &[&str], #[case] refusal: Refusal) {
    let bytes = head(&[&[ONE, HOST], fields].concat());
    let found = read(&bytes);
    let is_line = refusal == Refusal::Field && found == Err(Refusal::LineEnd);
    assert!(found == Err(refusal) || is_line, "{found:?}");
    assert_eq!(refusal.status(), 400);
}

#[rstest]
#[case::no_host(&[ONE], Refusal::Host)]
#[case::user_information(&[ONE, "Host: b@a"], Refusal::Host)]
#[case::path_in_host(&[ONE, "Host: a/b"], Refusal::Host)]
#[case::two_names(&[ONE, "Host: a, b"], Refusal::Host)]
#[case::space_in_host(&[ONE, "Host: a b"], Refusal::Host)]
#[case::port_of_letters(&[ONE, "Host: a:b"], Refusal::Host)]
#[case::open_bracket(&[ONE, "Host: [2001:db8::1"], Refusal::Host)]
#[case::another_host(&["GET http://b/ HTTP/1.1", HOST], Refusal::HostMismatch)]
#[case::another_port(&["GET http://a:81/ HTTP/1.1", HOST], Refusal::HostMismatch)]
#[case::user_in_target(&["GET http://b@a/ HTTP/1.1", HOST], Refusal::Target)]
#[case::no_authority(&["GET http:/// HTTP/1.1", HOST], Refusal::Target)]
#[case::unknown_scheme(&["GET gopher://a/ HTTP/1.1", HOST], Refusal::Target)]
#[case::query_without_path(&["GET http://a?b HTTP/1.1", HOST], Refusal::Target)]
#[case::fragment(&["GET /#a HTTP/1.1", HOST], Refusal::Target)]
#[case::no_slash(&["GET a HTTP/1.1", HOST], Refusal::Target)]
#[case::star(&["GET * HTTP/1.1", HOST], Refusal::Target)]
#[case::connect_to_a_path(&["CONNECT /a HTTP/1.1", HOST], Refusal::Target)]
#[case::connect_without_port(&["CONNECT a HTTP/1.1", HOST], Refusal::Target)]
#[case::two_spaces(&["GET  / HTTP/1.1", HOST], Refusal::FirstLine)]
#[case::tab(&["GET\t/ HTTP/1.1", HOST], Refusal::FirstLine)]
#[case::no_version(&["GET /", HOST], Refusal::FirstLine)]
#[case::http_2(&["GET / HTTP/2.0", HOST], Refusal::Version)]
#[case::http_1_2(&["GET / HTTP/1.2", HOST], Refusal::Version)]
#[case::lower_case_version(&["GET / http/1.1", HOST], Refusal::Version)]
#[case::coding_in_http_1_0(
    &["POST / HTTP/1.0", HOST, "Transfer-Encoding: chunked"],
    Refusal::TransferEncoding
)]
fn a_first_line_or_host_that_is_none_is_refused(#[case] lines: &[&str], #[case] refusal: Refusal) {
    let found = read(&head(lines));
    let is_first = [Refusal::FirstLine, Refusal::Version, Refusal::Target].contains(&refusal)
        && matches!(
            found,
            Err(Refusal::FirstLine | Refusal::Version | Refusal::Target | Refusal::LineEnd)
        );
    assert!(found == Err(refusal) || is_first, "{found:?}");
}

#[rstest]
#[case::origin(&["GET /p?q HTTP/1.1", "Host: A:80"], Some("A:80"), Some("/p?q"))]
#[case::absolute(&["GET http://a:80/p HTTP/1.1", "Host: A:80"], Some("a:80"), Some("/p"))]
#[case::absolute_without_path(&["GET HTTP://a HTTP/1.1", HOST], Some("a"), None)]
#[case::connect(&["CONNECT [2001:db8::1]:443 HTTP/1.1", "Host: [2001:db8::1]:443"],
    Some("[2001:db8::1]:443"), None)]
#[case::options(&["OPTIONS * HTTP/1.1", HOST], Some("a"), None)]
#[case::empty_host(&[ONE, "Host:"], Some(""), Some("/"))]
#[case::old(&["GET / HTTP/1.0"], None, Some("/"))]
#[case::utf_8(&["GET /ä HTTP/1.1", HOST], Some("a"), Some("/ä"))]
#[case::empty_lines_before(&["", ONE, HOST], Some("a"), Some("/"))]
fn each_form_of_a_target_is_read(
    #[case] lines: &[&str],
    #[case] authority: Option<&str>,
    #[case] path: Option<&str>,
) {
    let bytes = head(lines);
    let request = read(&bytes).unwrap().unwrap();
    assert_eq!(request.authority.map(|one| one.of(&bytes)), authority.map(str::as_bytes));
    assert_eq!(request.path.map(|one| one.of(&bytes)), path.map(str::as_bytes));
    assert_eq!(request.length, bytes.len());
}

#[test]
fn what_belongs_to_one_connection_is_told_from_what_goes_on() {
    let bytes = head(&[
        "POST / HTTP/1.1",
        "hOsT: a",
        "X-b: 1",
        "x-B:  2 ",
        "Connection: close, X-Listed, Host, Content-Length,, upgrade",
        "x-listed: gone",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: gzip, Trailers",
        "Trailer: X-Sum",
        "Upgrade: websocket",
        "Expect: 100-Continue",
        "Content-Length: 7",
    ]);
    let request = read(&bytes).unwrap().unwrap();
    assert_eq!(
        passed_on(&bytes, &request.fields),
        ["X-b: 1", "x-B: 2", "Trailer: X-Sum"],
        "case, order and repetition stay"
    );
    assert_eq!(request.framing, Framing::Length(7), "listed or not");
    assert_eq!(request.authority.unwrap().of(&bytes), b"a", "listed or not");
    assert!(!request.persists && request.expects_continue && request.accepts_trailers);
    assert_eq!(request.upgrade.unwrap().of(&bytes), b"websocket");
}

#[rstest]
#[case::not_listed(&["Upgrade: websocket"])]
#[case::to_http_2(&["Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AA"])]
#[case::to_two(&["Connection: upgrade", "Upgrade: websocket", "Upgrade: h2c"])]
fn an_upgrade_that_would_go_past_the_proxy_is_none(#[case] fields: &[&str]) {
    let bytes = head(&[&[ONE, HOST], fields].concat());
    let request = read(&bytes).unwrap().unwrap();
    assert_eq!((request.upgrade, passed_on(&bytes, &request.fields).len()), (None, 0));
}

#[rstest]
#[case("HTTP/1.1", &[], true)]
#[case("HTTP/1.1", &["Connection: Close"], false)]
#[case("HTTP/1.0", &[], false)]
#[case("HTTP/1.0", &["Connection: Keep-Alive"], true)]
#[case("HTTP/1.0", &["Connection: keep-alive", "Connection: close"], false)]
fn a_connection_persists_by_version_and_option(
    #[case] version: &str,
    #[case] fields: &[&str],
    #[case] persists: bool,
) {
    let bytes = head(&[&[&format!("GET / {version}"), HOST], fields].concat());
    assert_eq!(read(&bytes).unwrap().unwrap().persists, persists);
}

#[test]
fn limits_have_their_own_status() {
    let limits = Limits { bytes: 200, fields: 4, target: 20 };
    let status = |bytes: &[u8]| request::read(bytes, &limits).unwrap_err().status();
    let many: Vec<String> = (0..5).map(|at| format!("X-{at}: 1")).collect();
    let many: Vec<&str> = [ONE].into_iter().chain(many.iter().map(String::as_str)).collect();
    assert_eq!(status(&head(&many)), 431);
    let long = format!("X: {}", "a".repeat(200));
    assert_eq!(status(&head(&[ONE, HOST, &long])), 431);
    assert_eq!(status(format!("{ONE}\r\n{long}").as_bytes()), 431, "before its end has come");
    assert_eq!(status(&head(&[&format!("GET /{} HTTP/1.1", "a".repeat(20)), HOST])), 414);
    assert_eq!(status(&head(&["GET / HTTP/3.0", HOST])), 505);
}

#[test]
fn a_head_is_read_once_it_is_whole_wherever_it_was_split() {
    let bytes = head(&["POST /p HTTP/1.1", HOST, "Content-Length: 2", "X: y"]);
    let whole = read(&bytes).unwrap();
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), Ok(None), "{end}");
    }
    let more = [&bytes[..], b"hi GET"].concat();
    assert_eq!(read(&more).unwrap(), whole, "what follows is another matter");
    assert_eq!(whole.unwrap().version, Version::Http11);
}

#[rstest]
#[case::length(200, &["Content-Length: 3"], Ok(Framing::Length(3)), true)]
#[case::no_length(200, &[], Ok(Framing::UntilClose), false)]
#[case::zero(200, &["Content-Length: 0"], Ok(Framing::Empty), true)]
#[case::chunked(200, &["Transfer-Encoding: Chunked"], Ok(Framing::Chunked), true)]
#[case::closing(200, &["Content-Length: 3", "Connection: close"], Ok(Framing::Length(3)), false)]
#[case::no_content(204, &["Content-Length: 3"], Ok(Framing::Empty), true)]
#[case::not_modified(304, &["Content-Length: 3"], Ok(Framing::Empty), true)]
#[case::interim(103, &[], Ok(Framing::Empty), true)]
#[case::upgrade_that_nobody_asked_for(101, &[], Err(Refusal::FirstLine), false)]
#[case::both(200, &["Content-Length: 3", "Transfer-Encoding: chunked"], Err(Refusal::TwoFramings),
    false)]
#[case::two_lengths(200, &["Content-Length: 3", "Content-Length: 4"], Err(Refusal::ContentLength),
    false)]
fn an_answer_is_delimited_as_the_rfc_says(
    #[case] status: u16,
    #[case] fields: &[&str],
    #[case] framing: Result<Framing, Refusal>,
    #[case] persists: bool,
) {
    let first = format!("HTTP/1.1 {status} Fine");
    let bytes = head(&[&[first.as_str()], fields].concat());
    let asked = Asked::Other { upgrade: false };
    let read = response::read(&bytes, asked, &Limits::default());
    let read = read.map(|response| response.unwrap());
    assert_eq!(read.as_ref().map(|response| response.framing).map_err(|error| *error), framing);
    assert_eq!(read.is_ok_and(|response| response.persists), persists);
}

#[test]
fn the_request_decides_about_an_answer_without_body_and_a_tunnel() {
    let framing = |status: u16, asked| {
        let bytes = head(&[&format!("HTTP/1.1 {status} x"), "Content-Length: 3"]);
        let response = response::read(&bytes, asked, &Limits::default()).unwrap().unwrap();
        (response.framing, response.is_interim())
    };
    assert_eq!(framing(200, Asked::Head), (Framing::Empty, false));
    assert_eq!(framing(200, Asked::Connect), (Framing::Tunnel, false));
    assert_eq!(framing(407, Asked::Connect), (Framing::Length(3), false));
    assert_eq!(framing(101, Asked::Other { upgrade: true }), (Framing::Tunnel, false));
    assert_eq!(framing(100, Asked::Other { upgrade: true }), (Framing::Empty, true));
}

#[test]
fn a_server_says_how_long_it_keeps_an_idle_connection() {
    let bytes = head(&["HTTP/1.1 200 OK", "Keep-Alive: max=5, Timeout = 7"]);
    let asked = Asked::Other { upgrade: false };
    let response = response::read(&bytes, asked, &Limits::default()).unwrap().unwrap();
    assert_eq!(response::idle_seconds(&bytes, &response.fields), Some(7));
}

/// Whatever bytes come, reading them ends, and what is not refused obeys its limits.
#[test]
fn no_bytes_break_the_reader() {
    let mut random = fastrand::Rng::with_seed(7);
    let seed = head(&[
        "POST http://a/p?q HTTP/1.1",
        "Host: a",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Connection: close, x",
    ]);
    for _ in 0..20_000 {
        let mut bytes = seed.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, *random.choice(b"\r\n :,\0\t;a3").unwrap()),
            }
        }
        if let Ok(Some(request)) = read(&bytes) {
            assert!(request.length <= bytes.len());
            let _ = passed_on(&bytes, &request.fields);
        }
    }
}
