//! What tells a request from others on its whole way: its `x-request-id`, and the trace that it is a part
//! of, in W3C's and in B3's headers.
//!
//! Without tracing all headers of traces are passed on as they came. With it, what is sent on names the
//! proxy's span as the parent, in each form that came, and in W3C's where none did.

use std::borrow::Cow;

type Header<'a> = (Cow<'a, str>, Cow<'a, str>);

pub(super) const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
const B3: &str = "b3";
const B3_TRACE: &str = "x-b3-traceid";
const B3_SPAN: &str = "x-b3-spanid";
const B3_PARENT: &str = "x-b3-parentspanid";
const B3_SAMPLED: &str = "x-b3-sampled";
const B3_FLAGS: &str = "x-b3-flags";

/// The share of requests without a parent that begin a trace, of [`Tracing::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// So many.
    pub share: u32,
}

impl Tracing {
    /// A share of everything.
    pub const ALL: u32 = 1_000_000;

    fn begins(self) -> bool {
        fastrand::u32(..Self::ALL) < self.share
    }
}

/// The proxy's span of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub id: u64,
    /// The span that it is a part of.
    pub parent: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// What it is called.
    pub(super) request_id: String,
    /// Its span, where it has one.
    pub(super) span: Option<Span>,
    /// The fields that it is sent on with, in place of those that came.
    pub(super) lines: Vec<(String, String)>,
}

impl Marks {
    /// Of a request with these headers.
    pub(super) fn of(headers: &[Header<'_>], tracing: Option<Tracing>) -> Self {
        let mut lines = Vec::new();
        let request_id = first(headers, REQUEST_ID).map_or_else(
            || {
                let new = uuid(fastrand::u128(..));
                lines.push((REQUEST_ID.to_owned(), new.clone()));
                new
            },
            str::to_owned,
        );
        let came = Came::of(headers);
        let span = tracing.and_then(|tracing| came.span(tracing));
        lines.extend(span.into_iter().flat_map(|span| came.onward(&span)));
        Self { request_id, span, lines }
    }
}

/// The first value of a header that is not empty.
pub(super) fn first<'h>(headers: &'h [Header<'_>], name: &str) -> Option<&'h str> {
    let mut own = headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
    own.find_map(|(_, value)| Some(value.trim()).filter(|value| !value.is_empty()))
}

/// A UUID of version 4 (RFC 9562, section 5.4) of random bits.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]).join("-")
}

/// What a request's headers say of its trace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    w3c: Option<Parent>,
    b3: Option<Parent>,
    b3_fields: Option<Parent>,
    /// B3's word that there is to be no trace, or that there is, without one.
    b3_says: Option<bool>,
}

/// Whose child a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    span: u64,
    /// None where that is left open.
    is_sampled: Option<bool>,
}

impl Came {
    fn of(headers: &[Header<'_>]) -> Self {
        let b3 = first(headers, B3);
        let flag = first(headers, B3_FLAGS) == Some("1");
        let says = first(headers, B3_SAMPLED).and_then(sampled).or(flag.then_some(true));
        Self {
            w3c: first(headers, TRACEPARENT).and_then(w3c),
            b3: b3.and_then(b3_in_one),
            b3_fields: b3_in_fields(headers).map(|parent| Parent { is_sampled: says, ..parent }),
            b3_says: b3.and_then(sampled).or(says),
        }
    }

    /// The proxy's span; none for what is not traced. The parent's word counts.
    fn span(&self, tracing: Tracing) -> Option<Span> {
        let parent = self.w3c.or(self.b3).or(self.b3_fields);
        let says = parent.map_or(self.b3_says, |parent| parent.is_sampled);
        let is_sampled = says.unwrap_or_else(|| tracing.begins());
        is_sampled.then(|| Span {
            trace: parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace),
            id: fastrand::u64(1..),
            parent: parent.map(|parent| parent.span),
        })
    }

    /// The headers that name a span as the parent.
    fn onward(&self, span: &Span) -> Vec<(String, String)> {
        let Span { trace, id, parent } = span;
        let mut lines = Vec::new();
        let mut add = |name: &str, value: String| lines.push((name.to_owned(), value));
        if self.w3c.is_some() || (self.b3.is_none() && self.b3_fields.is_none()) {
            add(TRACEPARENT, format!("00-{trace:032x}-{id:016x}-01"));
        }
        let up = parent.map(|parent| format!("{parent:016x}"));
        if self.b3.is_some() {
            let up = up.as_ref().map(|up| format!("-{up}")).unwrap_or_default();
            add(B3, format!("{trace:032x}-{id:016x}-1{up}"));
        }
        if self.b3_fields.is_some() {
            add(B3_TRACE, format!("{trace:032x}"));
            add(B3_SPAN, format!("{id:016x}"));
            if let Some(up) = up {
                add(B3_PARENT, up);
            }
            add(B3_SAMPLED, "1".to_owned());
        }
        lines
    }
}

/// A number of so many lower-case digits that is not zero, which stands for none.
fn w3c_number(text: &str, digits: usize) -> Option<u128> {
    let is_lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = text.len() == digits && text.bytes().all(is_lower);
    u128::from_str_radix(text, 16).ok().filter(|number| fits && *number != 0)
}

/// W3C Trace Context, section 3.2: a later version may have more behind.
fn w3c(text: &str) -> Option<Parent> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(version) || !is_hex(flags) || version == "ff" {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let span = u64::try_from(w3c_number(span, 16)?).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(Parent { trace: w3c_number(trace, 32)?, span, is_sampled: Some(flags & 1 == 1) })
}

/// A trace of B3 has 64 or 128 bits, a span 64.
fn b3_ids(trace: &str, span: &str) -> Option<Parent> {
    let number = |text: &str, digits: &[usize]| {
        let fits = digits.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|number| fits && *number != 0)
    };
    let span = u64::try_from(number(span, &[16])?).ok()?;
    Some(Parent { trace: number(trace, &[16, 32])?, span, is_sampled: None })
}

fn b3_in_one(text: &str) -> Option<Parent> {
    let mut parts = text.split('-');
    let parent = b3_ids(parts.next()?, parts.next()?)?;
    let is_sampled = parts.next().and_then(sampled);
    Some(Parent { is_sampled, ..parent })
}

fn b3_in_fields(headers: &[Header<'_>]) -> Option<Parent> {
    b3_ids(first(headers, B3_TRACE)?, first(headers, B3_SPAN)?)
}

/// B3's word for whether there is to be a trace; `d` asks for one whatever the share.
fn sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    const NEVER: Option<Tracing> = Some(Tracing { share: 0 });
    const ALWAYS: Option<Tracing> = Some(Tracing { share: Tracing::ALL });

    fn marks(headers: &[(&str, &str)], tracing: Option<Tracing>) -> Marks {
        let owned = |(name, value): &(&str, &str)| -> Header<'static> {
            ((*name).to_owned().into(), (*value).to_owned().into())
        };
        Marks::of(&headers.iter().map(owned).collect::<Vec<_>>(), tracing)
    }

    fn line<'m>(marks: &'m Marks, name: &str) -> Option<&'m str> {
        marks.lines.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_request_without_an_id_is_given_a_uuid_of_version_4() {
        let kept = marks(&[("X-Request-ID", " mine ")], None);
        assert_eq!((kept.request_id.as_str(), kept.lines.len()), ("mine", 0));
        for _ in 0..100 {
            let Marks { request_id, lines, .. } = marks(&[("x-request-id", "")], None);
            assert_eq!(lines, [(REQUEST_ID.to_owned(), request_id.clone())]);
            let parts: Vec<&str> = request_id.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert!(
                parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
                "{request_id}"
            );
        }
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn without_tracing_nothing_of_a_trace_is_changed() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let found = marks(&[("x-request-id", "a"), (TRACEPARENT, &parent), (B3, "1")], None);
        assert!(found.span.is_none() && found.lines.is_empty(), "{found:?}");
    }

    #[test]
    fn a_span_is_its_parents_child_in_each_form_that_came() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let single = format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90");
        let headers = [
            (TRACEPARENT, parent.as_str()),
            (B3, &single),
            ("X-B3-TraceId", TRACE),
            ("X-B3-SpanId", SPAN),
            ("X-B3-Sampled", "1"),
        ];
        let found = marks(&headers, NEVER);
        let span = found.span.unwrap();
        assert_eq!(
            (format!("{:032x}", span.trace).as_str(), span.parent),
            (TRACE, u64::from_str_radix(SPAN, 16).ok())
        );
        let id = format!("{:016x}", span.id);
        assert_ne!(id, SPAN);
        assert_eq!(line(&found, TRACEPARENT), Some(&*format!("00-{TRACE}-{id}-01")));
        assert_eq!(line(&found, B3), Some(&*format!("{TRACE}-{id}-1-{SPAN}")));
        assert_eq!(line(&found, B3_TRACE), Some(TRACE));
        assert_eq!((line(&found, B3_SPAN), line(&found, B3_PARENT)), (Some(&*id), Some(SPAN)));
        let short = marks(&[(B3, &format!("{SPAN}-{SPAN}"))], ALWAYS);
        assert_eq!((line(&short, TRACEPARENT), line(&short, B3).is_some()), (None, true));
    }

    #[test]
    fn the_parents_word_counts_before_the_share() {
        let with = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        for (headers, tracing, wanted) in [
            (vec![(TRACEPARENT, with("00"))], ALWAYS, false),
            (vec![(TRACEPARENT, with("03"))], NEVER, true),
            (vec![(B3, "0".to_owned())], ALWAYS, false),
            (vec![(B3, format!("{TRACE}-{SPAN}-0"))], ALWAYS, false),
            (vec![(B3, format!("{TRACE}-{SPAN}-d"))], NEVER, true),
            (vec![(B3, format!("{TRACE}-{SPAN}"))], ALWAYS, true),
            (vec![(B3, format!("{TRACE}-{SPAN}"))], NEVER, false),
            (vec![(B3_SAMPLED, "0".to_owned())], ALWAYS, false),
            (vec![(B3_FLAGS, "1".to_owned())], NEVER, true),
            (vec![], NEVER, false),
            (vec![], ALWAYS, true),
        ] {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let found = marks(&headers, tracing);
            assert_eq!(found.span.is_some(), wanted, "{headers:?} {tracing:?}");
            let lines = found.lines.iter().filter(|(name, _)| name != REQUEST_ID).count();
            assert_eq!(lines > 0, wanted, "what is not traced is left as it came");
        }
    }

    #[test]
    fn a_parent_that_cannot_be_read_is_none_and_a_new_trace_begins() {
        for text in [
            "",
            "00",
            "00-0-0-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
            "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(w3c(text), None, "{text:?}");
            let found = marks(&[(TRACEPARENT, text)], ALWAYS);
            assert_eq!(found.span.unwrap().parent, None, "{text:?}");
        }
        assert!(w3c("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
    }
}
