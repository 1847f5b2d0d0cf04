//! As much of HTTP/1.1 as the four services need: a thread a connection, bodies by their length.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    sync::Arc,
    thread,
    time::Duration,
};

/// Longer heads are no request of these services.
const MOST_HEAD: u64 = 64 * 1024;
const MOST_BODY: u64 = 1 << 20;

/// A request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(body: impl Into<String>) -> Self {
        Self::of(200, "application/json", body)
    }

    pub(crate) fn html(body: impl Into<String>) -> Self {
        Self::of(200, "text/html; charset=utf-8", body)
    }

    pub(crate) fn not_found() -> Self {
        Self::of(404, "text/plain", "not found\n")
    }

    fn of(status: u16, kind: &str, body: impl Into<String>) -> Self {
        let headers = vec![("content-type", kind.to_owned())];
        Self { status, headers, body: body.into() }
    }
}

/// Answers for good, on all addresses of both families.
pub(crate) fn serve(
    port: u16,
    answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind((IpAddr::from([0_u16; 8]), port))?;
    let answer = Arc::new(answer);
    loop {
        let (stream, _) = listener.accept()?;
        let answer = Arc::clone(&answer);
        // A client that leaves in the middle ends its own connection only.
        thread::spawn(move || converse(&stream, &*answer));
    }
}

fn converse(stream: &TcpStream, answer: &dyn Fn(&Request) -> Response) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let closes = request.headers.get("connection").is_some_and(|value| value == "close");
        let Response { status, headers, body } = answer(&request);
        let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "content-length: {}\r\n\r\n{body}", body.len());
        let mut writer = stream;
        writer.write_all(text.as_bytes())?;
        if closes {
            break;
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some((first, headers)) = read_head(reader)? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = read_body(reader, &headers)?;
    Ok(Some(Request { method, path, headers, body }))
}

type Head = (String, BTreeMap<String, String>);

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut lines = reader.take(MOST_HEAD).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return Ok(Some((first, headers)));
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn read_body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> io::Result<String> {
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = Vec::new();
    reader.take(length.unwrap_or(0).min(MOST_BODY)).read_to_end(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        404 => "Not Found",
        500 => "Internal Server Error",
        _ => "Unknown",
    }
}

/// One request to `host:port` on a connection of its own: the status and the body.
pub(crate) fn get(
    authority: &str,
    path: &str,
    headers: &[(String, String)],
    patience: Duration,
) -> io::Result<(u16, String)> {
    let stream = connect(authority, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text += "\r\n";
    (&stream).write_all(text.as_bytes())?;
    let mut reader = BufReader::new(&stream);
    let (first, headers) = read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, read_body(&mut reader, &headers)?))
}

fn connect(authority: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in resolve(authority)? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// By `BOOKINFO_HOSTS` (`name=address,name=address`) where nothing else resolves names.
fn resolve(authority: &str) -> io::Result<Vec<SocketAddr>> {
    let given = std::env::var("BOOKINFO_HOSTS").unwrap_or_default();
    if let Some((name, port)) = authority.rsplit_once(':') {
        let pairs = given.split(',').filter_map(|pair| pair.split_once('='));
        let own = pairs.filter(|(host, _)| *host == name);
        let found: Vec<SocketAddr> = own
            .filter_map(|(_, address)| {
                Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
            })
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(authority.to_socket_addrs()?.collect())
}
