//! What the fields of a head say together about the connection and the body.

use super::{
    Refusal,
    head::{Field, Role, Version},
};

/// How the body that follows a head is delimited, as far as its fields tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stated {
    Nothing,
    Length(u64),
    Chunked,
}

/// What `Connection` lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl Connection {
    /// Whether another message may follow on the same connection.
    pub(super) fn persists(self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

/// Exactly one length or one `chunked`, or neither.
pub(super) fn stated(head: &[u8], fields: &[Field], version: Version) -> Result<Stated, Refusal> {
    let one = |role: Role, refusal: Refusal| {
        let mut all = fields.iter().filter(|field| field.role == role);
        let first = all.next().map(|field| field.value.of(head));
        if all.next().is_some() { Err(refusal) } else { Ok(first) }
    };
    let length = one(Role::ContentLength, Refusal::ContentLength)?;
    let coding = one(Role::TransferEncoding, Refusal::TransferEncoding)?;
    match (length, coding) {
        (None, None) => Ok(Stated::Nothing),
        (Some(_), Some(_)) => Err(Refusal::TwoFramings),
        (Some(length), None) => number(length).map(Stated::Length).ok_or(Refusal::ContentLength),
        (None, Some(coding)) => {
            let known = version == Version::Http11 && coding.eq_ignore_ascii_case(b"chunked");
            if known { Ok(Stated::Chunked) } else { Err(Refusal::TransferEncoding) }
        }
    }
}

/// Digits alone, without a sign; nothing that overflows.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads `Connection`, and marks the fields that it lists as meant for this connection alone. What
/// frames the message or names its host stays what it is, whatever is listed.
pub(super) fn connection(head: &[u8], fields: &mut [Field]) -> Connection {
    let mut found = Connection::default();
    for at in 0..fields.len() {
        if fields[at].role != Role::Connection {
            continue;
        }
        for option in list(fields[at].value.of(head)) {
            match option.to_ascii_lowercase().as_slice() {
                b"close" => found.close = true,
                b"keep-alive" => found.keep_alive = true,
                b"upgrade" => found.upgrade = true,
                _ => mark(head, fields, option),
            }
        }
    }
    found
}

fn mark(head: &[u8], fields: &mut [Field], listed: &[u8]) {
    let named = |field: &&mut Field| field.name.of(head).eq_ignore_ascii_case(listed);
    for field in fields.iter_mut().filter(named) {
        if field.role == Role::EndToEnd {
            field.role = Role::HopByHop;
        }
    }
}

/// The members of a comma-separated list.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
