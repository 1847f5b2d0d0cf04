//! A web client in a pod: the same request over and over, and what came of each.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde::{Deserialize, Serialize};

use crate::web::field;

/// An answer that takes longer has been lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests, all alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Requests {
    /// Where to.
    pub to: SocketAddr,
    /// The request as it is sent, line by line, without its empty line.
    pub lines: Vec<String>,
    /// Its body.
    pub body: String,
    /// How many.
    pub count: u32,
    /// How long they go on, if that is longer.
    pub millis: u64,
    /// How many each connection has.
    pub each: u32,
    /// The server name, where they are sent over TLS; whose certificate comes is not looked at.
    #[serde(default)]
    pub tls: Option<String>,
}

/// What came of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answers {
    /// How often there was which status and body.
    pub answers: BTreeMap<String, u32>,
    /// What else happened.
    pub failures: Vec<String>,
}

impl Answers {
    /// How often an answer came.
    pub fn of(&self, answer: &str) -> u32 {
        self.answers.get(answer).copied().unwrap_or(0)
    }

    /// The one answer that there was.
    pub fn only(&self) -> Option<&str> {
        let mut all = self.answers.keys();
        let only = all.next().filter(|_| all.next().is_none() && self.failures.is_empty());
        only.map(String::as_str)
    }
}

/// Whether so many are a share of all within four standard deviations: of sixteen thousand runs of a
/// right split one is refused.
pub fn is_share(found: u32, of: u32, share: f64) -> bool {
    let (found, of) = (f64::from(found), f64::from(of));
    (found - of * share).abs() <= 4.0 * (of * share * (1.0 - share)).sqrt()
}

/// Answers each line of its input.
pub(super) fn talk() -> Result<()> {
    for line in io::stdin().lock().lines() {
        println!("{}", serde_json::to_string(&run(&serde_json::from_str(&line?)?))?);
    }
    Ok(())
}

/// Sends them, and counts.
fn run(requests: &Requests) -> Answers {
    let mut found = Answers::default();
    let end = Instant::now() + Duration::from_millis(requests.millis);
    let mut stream = None;
    let (mut sent, mut on_this) = (0, 0);
    while sent < requests.count || Instant::now() < end {
        sent += 1;
        if on_this == requests.each {
            (stream, on_this) = (None, 0);
        }
        on_this += 1;
        match once(requests, &mut stream) {
            Ok(answer) => *found.answers.entry(answer).or_default() += 1,
            Err(error) => {
                stream = None;
                on_this = 0;
                found.failures.push(error.to_string());
            }
        }
    }
    found
}

fn once(requests: &Requests, kept: &mut Option<Box<dyn Stream>>) -> io::Result<String> {
    let mut stream = kept.take().map_or_else(|| connect(requests), Ok)?;
    let mut request = requests.lines.join("\r\n");
    request.push_str("\r\n\r\n");
    request.push_str(&requests.body);
    stream.write_all(request.as_bytes())?;
    let (head, body) = read(&mut *stream)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let closes = field(&head, "connection").is_some_and(|value| value == "close");
    if !closes {
        *kept = Some(stream);
    }
    let location = field(&head, "location").map(|to| format!("{to} ")).unwrap_or_default();
    Ok(format!("{status} {location}{body}").trim_end().to_owned())
}

trait Stream: io::Read + io::Write {}

impl<S: io::Read + io::Write> Stream for S {}

fn connect(requests: &Requests) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect_timeout(&requests.to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let Some(name) = &requests.tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(Box::new(StreamOwned::new(session, stream)))
}

/// Every certificate is taken: where connections lead is what is tested.
#[derive(Debug)]
pub struct Anyone(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A head, and as much of a body as it says.
fn read(stream: &mut dyn Stream) -> io::Result<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16_384];
    let more = |bytes: &mut Vec<u8>, buffer: &mut [u8], stream: &mut dyn Stream| match stream
        .read(buffer)?
    {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        length => {
            bytes.extend_from_slice(&buffer[..length]);
            Ok(())
        }
    };
    let end = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => more(&mut bytes, &mut buffer, stream)?,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = field(&head, "content-length").and_then(|value| value.parse::<usize>().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        more(&mut bytes, &mut buffer, stream)?;
    }
    Ok((head, String::from_utf8_lossy(&bytes[end..]).into_owned()))
}
