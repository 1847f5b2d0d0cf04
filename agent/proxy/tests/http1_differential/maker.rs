//! Messages of HTTP/1, made by chance.

use fastrand::Rng;

/// Messages: most of their parts are right, some are of the shapes that servers disagree about.
pub(crate) struct Maker {
    chance: Rng,
    /// Out of a hundred, how many parts are bent.
    bent: u32,
}

impl Maker {
    pub(crate) const fn new(chance: Rng) -> Self {
        Self { chance, bent: 0 }
    }

    /// Some messages, bent more or less.
    pub(crate) fn connection(&mut self) -> Vec<u8> {
        self.bent = [0, 3, 10, 30][self.chance.usize(..4)];
        (0..=self.chance.u32(..3)).flat_map(|_| self.message()).collect()
    }

    /// How much of it comes at a time.
    pub(crate) fn piece(&mut self) -> usize {
        1 + self.chance.usize(..16)
    }

    fn is_bent(&mut self) -> bool {
        self.chance.u32(..100) < self.bent
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.chance.usize(..all.len())]
    }

    /// One of the right ones, or now and then one of the others.
    fn of<'a>(&mut self, right: &[&'a str], bent: &[&'a str]) -> &'a str {
        if self.is_bent() { self.one_of(bent) } else { self.one_of(right) }
    }

    fn message(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut say = |text: &str| out.extend_from_slice(text.as_bytes());
        say(self.of(&["", ""], &["\r\n", "\n", " ", "\r"]));
        say(self.of(
            &["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "patch"],
            &["G(T", "", "G\tT", "POST "],
        ));
        say(self.of(&[" "], &["  ", "\t", ""]));
        say(self.of(
            &["/", "/a/b?c=d", "/%20", "/a//b", "http://a/x"],
            &[
                "*",
                "a",
                "/a b",
                "/a\u{e9}",
                "/a#b",
                "//",
                "/\u{0}",
                "http://",
                "http://a",
                "http://a?b",
                "https://u@a/",
                "http://b/x",
            ],
        ));
        say(self.of(
            &[" HTTP/1.1"],
            &[" HTTP/1.0", "  HTTP/1.1", " HTTP/1.1 ", " HTTP/1.2", " HTTP/2.0", " http/1.1", ""],
        ));
        say(self.of(&["\r\n"], &["\n", "\r", " \r\n", "\r\r\n"]));
        let host = self.of(
            &["Host: a\r\n"],
            &[
                "",
                "Host: a\r\nHost: a\r\n",
                "Host: b\r\n",
                "Host : a\r\n",
                "Host: a b\r\n",
                "Host:\r\n",
                "Host: a:80\r\n",
                "Host: a:x\r\n",
                "Host: [::1]\r\n",
                "Host: a\n",
            ],
        );
        say(host);
        for _ in 0..self.chance.u32(..4) {
            let field = self.of(
                &[
                    "X-A: 1\r\n",
                    "x-b:2\r\n",
                    "Accept: */*, text/html\r\n",
                    "X-C:  a b  \r\n",
                    "X-A: again\r\n",
                    "X-D:\r\n",
                    "X-E: \u{e9}\r\n",
                ],
                &[
                    "X-A : 1\r\n",
                    " X-A: 1\r\n",
                    "X-A: 1\r\n 2\r\n",
                    "X-A: 1\r\n\t2\r\n",
                    "X-A: a\rb\r\n",
                    "X-A: a\u{0}b\r\n",
                    "X-A\r\n",
                    ": a\r\n",
                    "X(A): 1\r\n",
                    "X-A: 1\n",
                    "X-\u{e9}: 1\r\n",
                    "Connection: close\r\n",
                    "Connection: x-a\r\n",
                    "Connection: keep-alive, x-b\r\n",
                    "Connection: host\r\n",
                    "TE: trailers\r\n",
                    "Expect: 100-continue\r\n",
                    "Upgrade: h2c\r\n",
                    "Keep-Alive: timeout=5\r\n",
                    "X-A: \u{7f}\r\n",
                ],
            );
            say(field);
        }
        match self.chance.u32(..4) {
            0 => self.with_length(&mut out),
            1 => self.with_chunks(&mut out),
            2 if self.is_bent() => self.with_two_framings(&mut out),
            _ => out.extend_from_slice(self.of(&["\r\n"], &["\n", "\r", ""]).as_bytes()),
        }
        out
    }

    fn with_length(&mut self, out: &mut Vec<u8>) {
        let body = "x".repeat(self.chance.usize(..20));
        let length = body.len();
        let lines = if self.is_bent() {
            match self.chance.u32(..9) {
                0 => format!("Content-Length: +{length}\r\n"),
                1 => format!("Content-Length: {length}, {length}\r\n"),
                2 => format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
                3 => format!("Content-Length: 0x{length:x}\r\n"),
                4 => format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
                5 => format!("Content-Length : {length}\r\n"),
                6 => "Content-Length: 99999999999999999999\r\n".to_owned(),
                7 => "Content-Length:\r\n".to_owned(),
                _ => format!("Content-Length: 0{length}\r\n"),
            }
        } else {
            format!("Content-Length: {length}\r\n")
        };
        out.extend_from_slice(lines.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
    }

    fn with_chunks(&mut self, out: &mut Vec<u8>) {
        let coding = self.of(
            &["Transfer-Encoding: chunked\r\n", "transfer-encoding: Chunked\r\n"],
            &[
                "Transfer-Encoding: gzip, chunked\r\n",
                "Transfer-Encoding: chunked, chunked\r\n",
                "Transfer-Encoding: identity\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding : chunked\r\n",
                "Transfer-Encoding: xchunked\r\n",
                "Transfer-Encoding:\tchunked\r\n",
                "Transfer-Encoding: \"chunked\"\r\n",
                "Transfer-Encoding: chunked;q=1\r\n",
            ],
        );
        out.extend_from_slice(coding.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.chunks(out);
    }

    fn chunks(&mut self, out: &mut Vec<u8>) {
        for _ in 0..self.chance.u32(..3) {
            let data = "y".repeat(1 + self.chance.usize(..30));
            let size = data.len();
            let line = if self.is_bent() {
                match self.chance.u32(..9) {
                    0 => format!("{size:x} \r\n"),
                    1 => format!(" {size:x}\r\n"),
                    2 => format!("+{size:x}\r\n"),
                    3 => format!("0x{size:x}\r\n"),
                    4 => format!("{size:017x}\r\n"),
                    5 => format!("{size:x}\n"),
                    6 => format!("{size:x};a=\"b\n\"\r\n"),
                    7 => format!("{:x}\r\n", size + 1),
                    _ => format!("{size:x};ext\r\n"),
                }
            } else {
                format!("{size:x}\r\n")
            };
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(data.as_bytes());
            out.extend_from_slice(self.of(&["\r\n"], &["\n", "", "\r\n\r\n"]).as_bytes());
        }
        let end = self.of(
            &["0\r\n\r\n", "000\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n"],
            &[
                "0\n\n",
                "0\r\n",
                "-0\r\n\r\n",
                "0\r\nX Sum: 1\r\n\r\n",
                "0\r\n X: 1\r\n\r\n",
                "0\r\nContent-Length: 9\r\n\r\n",
                "0\r\n\n",
            ],
        );
        out.extend_from_slice(end.as_bytes());
    }

    fn with_two_framings(&mut self, out: &mut Vec<u8>) {
        let lines = self.one_of(&[
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        ]);
        out.extend_from_slice(lines.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.chunks(out);
    }
}
