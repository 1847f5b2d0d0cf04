//! What clients and servers say to each other, byte by byte.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::rig::{Rig, soon};

pub(super) const GET: &str =
    "GET /old?a=1 HTTP/1.1\r\nHost: Reviews:80\r\nX-Case: Kept\r\nX-Request-Id: 7\r\n\r\n";
pub(super) const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

pub(super) async fn say(stream: &mut TcpStream, text: &str) {
    soon(stream.write_all(text.as_bytes())).await.unwrap();
}

/// Reads until the text ends with this.
pub(super) async fn hear(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(end) {
        match soon(stream.read(&mut buffer)).await.unwrap() {
            0 => panic!("the end, after {text:?}"),
            length => text += std::str::from_utf8(&buffer[..length]).unwrap(),
        }
    }
    text
}

/// Reads the end of a head and what came with it.
pub(super) async fn head(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\r\n\r\n") {
        match soon(stream.read(&mut buffer)).await.unwrap() {
            0 => panic!("the end, after {text:?}"),
            length => text += std::str::from_utf8(&buffer[..length]).unwrap(),
        }
    }
    text
}

pub(super) async fn accept(rig: &Rig) -> TcpStream {
    soon(rig.upstream.accept()).await.unwrap().0
}
