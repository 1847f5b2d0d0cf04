//! Writes to the API server: plain HTTP on the socket of `kubectl proxy`, one connection a thread.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub(super) struct Api(BufReader<UnixStream>);

impl Api {
    pub(super) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket);
        Ok(Self(BufReader::new(stream.with_context(|| socket.display().to_string())?)))
    }

    /// Creates an object in a collection.
    pub(super) fn create(&mut self, collection: &str, object: &Value) -> anyhow::Result<()> {
        self.request("POST", collection, "application/json", object)
    }

    /// Changes an object by a JSON patch (RFC 6902).
    pub(super) fn patch(&mut self, path: &str, change: &Value) -> anyhow::Result<()> {
        self.request("PATCH", path, "application/json-patch+json", change)
    }

    pub(super) fn delete(&mut self, path: &str) -> anyhow::Result<()> {
        self.request("DELETE", path, "application/json", &Value::Null)
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        content: &str,
        body: &Value,
    ) -> anyhow::Result<()> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all((head + &body).as_bytes())?;
        let (status, answer) = self.answer()?;
        let says = || String::from_utf8_lossy(&answer).into_owned();
        ensure!(status.starts_with('2'), "{method} {path}: {status}: {}", says());
        Ok(())
    }

    /// The status of an answer and its body.
    fn answer(&mut self) -> anyhow::Result<(String, Vec<u8>)> {
        let first = self.line()?;
        let status = first.split_once(' ').context("no status")?.1.to_owned();
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", "chunked")) => chunked = true,
                None if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = Vec::new();
        if !chunked {
            self.take(length, &mut body)?;
            return Ok((status, body));
        }
        loop {
            let length = usize::from_str_radix(&self.line()?, 16)?;
            self.take(length, &mut body)?;
            self.line()?;
            if length == 0 {
                return Ok((status, body));
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(
            self.0.read_line(&mut line)? > 0,
            "the API server's proxy has closed the connection"
        );
        Ok(line.trim_end().to_owned())
    }

    fn take(&mut self, length: usize, body: &mut Vec<u8>) -> anyhow::Result<()> {
        let before = body.len();
        body.resize(before + length, 0);
        Ok(self.0.read_exact(&mut body[before..])?)
    }
}
