//! What follows a body: lines in HTTP/1, fields in HTTP/2.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http1::write::line;

/// A trailer section in the form in which it came: HTTP/1 keeps its case.
#[derive(Clone, Debug)]
pub enum Trailers {
    /// Lines with their ends.
    Lines(Vec<u8>),
    /// Fields.
    Fields(HeaderMap),
}

impl Default for Trailers {
    fn default() -> Self {
        Self::Lines(Vec::new())
    }
}

impl Trailers {
    /// As lines with their ends.
    pub fn lines(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Lines(lines) => Cow::Borrowed(lines),
            Self::Fields(fields) => Cow::Owned(to_lines(fields)),
        }
    }

    /// As fields.
    pub fn fields(self) -> HeaderMap {
        match self {
            Self::Lines(lines) => from_lines(&lines),
            Self::Fields(fields) => fields,
        }
    }
}

/// The most fields of a trailer section.
const MOST: usize = 64;

/// Lines with their ends as fields. What may not stand in a trailer section is left out: it would be
/// taken for a part of the head (RFC 9110, section 6.5.1).
pub fn from_lines(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut table = [httparse::EMPTY_HEADER; MOST];
    let whole = [lines, b"\r\n"].concat();
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(&whole, &mut table)
    else {
        return fields;
    };
    for one in parsed {
        let name = HeaderName::from_bytes(one.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(one.value))
            && is_allowed(&name)
        {
            fields.append(name, value);
        }
    }
    fields
}

/// Fields as lines with their ends.
pub fn to_lines(fields: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| is_allowed(name)) {
        line(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    out
}

fn is_allowed(name: &HeaderName) -> bool {
    !super::request::is_of_connection(name)
        && !matches!(
            name.as_str(),
            "host"
                | "trailer"
                | "content-encoding"
                | "content-type"
                | "cookie"
                | "set-cookie"
                | "authorization"
        )
}
