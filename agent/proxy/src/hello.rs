//! The server name that a TLS connection asks for, from its first bytes. Pure, and bounded: a hello that
//! is longer than [`MOST`] is none.
//!
//! What two readers may read differently has no name here: a name that occurs twice, that is no DNS name,
//! or that stands in a hello with bytes to spare. A connection that only a name could let out is then
//! closed. Of a hello that is encrypted (ECH) the outer name is read: the inner one is not ours to see.

/// The most bytes of a hello, with the headers of the records that it comes in. Envoy's bound.
pub(crate) const MOST: usize = 64 * 1024;

/// The longest record in the clear (RFC 8446, section 5.1).
const MOST_IN_RECORD: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: [u8; 2] = [0, 0];
const HOST_NAME: u8 = 0;
/// The longest name of DNS.
const MOST_IN_NAME: usize = 253;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The beginning of a hello.
    Unfinished,
    /// A hello with the name that it asks for, in lower case.
    Tls(Option<String>),
    /// No hello.
    Other,
}

/// Reads the first bytes of a connection.
pub(crate) fn read(bytes: &[u8]) -> Hello {
    match message(bytes) {
        Ok(Some(hello)) => match server_names(&hello).as_deref() {
            Some([name]) => Hello::Tls(server_name(name)),
            Some(_) => Hello::Tls(None),
            None => Hello::Other,
        },
        Ok(None) if bytes.len() < MOST => Hello::Unfinished,
        Ok(None) | Err(NotTls) => Hello::Other,
    }
}

struct NotTls;

/// The body of the first message, which may come in several records; nothing while it is incomplete.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, NotTls> {
    let mut message = Vec::new();
    loop {
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(NotTls);
        }
        if let [_, one, two, three, body @ ..] = &message[..] {
            let length = u32::from_be_bytes([0, *one, *two, *three]) as usize;
            if length > MOST {
                return Err(NotTls);
            }
            if let Some(body) = body.get(..length) {
                return Ok(Some(body.to_vec()));
            }
        }
        let Some(Record { fragment, rest }) = record(bytes)? else { return Ok(None) };
        message.extend_from_slice(fragment);
        // Of a record that is incomplete the kind of its message is looked at all the same.
        let Some(rest) = rest else {
            let is_hello = message.first().is_none_or(|kind| *kind == CLIENT_HELLO);
            return if is_hello { Ok(None) } else { Err(NotTls) };
        };
        bytes = rest;
    }
}

/// What there is of a record, and what follows it where it is whole.
struct Record<'a> {
    fragment: &'a [u8],
    rest: Option<&'a [u8]>,
}

fn record(bytes: &[u8]) -> Result<Option<Record<'_>>, NotTls> {
    let is_handshake = bytes.first().is_none_or(|kind| *kind == HANDSHAKE);
    let is_version = bytes.get(1).is_none_or(|major| *major == 3);
    if !is_handshake || !is_version {
        return Err(NotTls);
    }
    let Some((header, rest)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    // An empty record of a handshake is forbidden, and would let a hello go on for ever.
    if length == 0 || length > MOST_IN_RECORD {
        return Err(NotTls);
    }
    Ok(Some(match rest.split_at_checked(length) {
        Some((fragment, rest)) => Record { fragment, rest: Some(rest) },
        None => Record { fragment: rest, rest: None },
    }))
}

/// The extensions of a hello that have names, one as a rule; nothing where it is no hello.
fn server_names(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut hello = Reader(body);
    hello.take(2 + 32)?;
    let session = hello.sized::<1>()?;
    let (ciphers, compressions) = (hello.sized::<2>()?, hello.sized::<1>()?);
    if session.len() > 32 || ciphers.len() < 2 || compressions.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    if hello.0.is_empty() {
        return Some(names);
    }
    let mut extensions = Reader(hello.sized::<2>()?);
    if !hello.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.take(2)?;
        let content = extensions.sized::<2>()?;
        if kind == SERVER_NAME {
            names.push(content);
        }
    }
    Some(names)
}

/// The one name of the extension.
fn server_name(content: &[u8]) -> Option<String> {
    let mut content = Reader(content);
    let mut list = Reader(content.sized::<2>()?);
    let kind = list.take(1)?;
    let name = list.sized::<2>()?;
    let is_only = content.0.is_empty() && list.0.is_empty() && kind == [HOST_NAME];
    let name = std::str::from_utf8(name).ok().filter(|_| is_only)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(is_letter)
    };
    let is_name = name.len() <= MOST_IN_NAME && name.split('.').all(is_label);
    is_name.then(|| name.to_ascii_lowercase())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes behind their length, which has N bytes itself.
    fn sized<const N: usize>(&mut self) -> Option<&'a [u8]> {
        let length = self.take(N)?.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        self.take(length)
    }
}

#[cfg(test)]
pub(crate) mod tests;
