//! Whether changes of headers, and what browsers may do across origins, are valid.

use super::{
    Report,
    values::{Zero, check_duration, check_text, set},
};
use crate::{
    finding::code,
    resource::{
        duration::nanoseconds,
        virtual_service::{CorsPolicy, Headers, HttpRoute},
    },
};

/// What browsers may ask for.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

/// Whether a name is one of RFC 9110: of token characters.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// A token's claim in a header's place: `@request.auth.claims.NAME` or `…[NAME]`.
pub(super) fn is_claim(name: &str) -> bool {
    const START: &str = "@request.auth.claims";
    let Some((start, rest)) = name.split_at_checked(START.len()) else { return false };
    let in_brackets = rest.starts_with('[') && rest.ends_with(']') && rest.len() > 2;
    start.eq_ignore_ascii_case(START) && (in_brackets || (rest.starts_with('.') && rest.len() > 1))
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// How often the authority is set.
pub(super) fn authorities(headers: &Headers) -> usize {
    let request = headers.request.as_ref();
    let names = request.into_iter().flat_map(|one| one.set.keys().chain(one.add.keys()));
    names.filter(|name| is_authority(name)).count()
}

/// The host cannot be taken away, and what starts with a colon is no header that can be.
pub(super) fn check(headers: Option<&Headers>, path: &str, report: &mut Report<'_>) {
    let Some(Headers { request, response }) = headers else { return };
    for (of, operations) in [("request", request), ("response", response)] {
        let Some(operations) = operations else { continue };
        for (index, header) in operations.remove.iter().enumerate() {
            if header.is_empty() || is_fixed(header) {
                let message = format!("{header:?} cannot be removed: name another header");
                report.error(code::CONFLICT, format!("{path}.{of}.remove[{index}]"), message);
            }
        }
        for (verb, given) in [("set", &operations.set), ("add", &operations.add)] {
            for (name, value) in given {
                let field = format!("{path}.{of}.{verb}[{name}]");
                let may = of == "request" && is_authority(name);
                if name.is_empty() {
                    let message = "a header without a name: give it";
                    report.error(code::REQUIRED, format!("{path}.{of}"), message);
                } else if is_fixed(name) && !may {
                    let message = format!("{name:?} cannot be changed here: name another header");
                    report.error(code::CONFLICT, field.clone(), message);
                }
                check_value(value, &field, report);
            }
        }
    }
}

fn is_fixed(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn check_value(value: &str, field: &str, report: &mut Report<'_>) {
    let is_control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    if value.bytes().any(is_control) {
        let message = "control characters cannot be sent: remove them";
        report.error(code::PATTERN, field, message);
    } else if !variables_end(value) {
        let message =
            format!("{value:?}: a % starts a variable, %NAME% or %NAME(…)%; write %% for one");
        report.error(code::PATTERN, field, message);
    }
}

/// Whether each `%NAME%` and `%NAME(…)%` of a value ends.
fn variables_end(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(escaped) = after.strip_prefix('%') {
            rest = escaped;
            continue;
        }
        let Some(at) = after.find(['%', '(']) else { return false };
        rest = &after[at + 1..];
        if after[at..].starts_with('(') {
            let Some(ended) = after_arguments(rest) else { return false };
            rest = ended;
        }
    }
    true
}

/// What follows the arguments of a variable and the sign that ends it.
fn after_arguments(text: &str) -> Option<&str> {
    let inner = text.trim_start_matches(' ');
    let rest = match inner.strip_prefix('[') {
        Some(list) => after_list(list)?.trim_start_matches(' ').strip_prefix(')')?,
        None => after_string(inner)?.1,
    };
    rest.trim_start_matches(' ').strip_prefix('%')
}

/// What follows a list of quoted strings.
fn after_list(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let string = rest.trim_start_matches(' ').strip_prefix('"')?;
        let (end, after) = after_string(string)?;
        if end == ')' {
            // Such a bracket ends the variable wherever it stands.
            return Some(&string[string.len() - after.len() - 1..]);
        }
        let after = after.trim_start_matches(' ');
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.strip_prefix(']'),
        }
    }
}

/// What ends a string, a quote or the variable's bracket, and what follows.
fn after_string(text: &str) -> Option<(char, &str)> {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next()?;
            }
            '"' | ')' => return Some((letter, &text[at + 1..])),
            _ => {}
        }
    }
    None
}

pub(super) fn check_cors(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let Some(cors) = &rule.cors_policy else { return };
    let path = format!("{path}.corsPolicy");
    check_origins(cors, &path, report);
    for (index, method) in cors.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            let message = format!("{method:?}: use one of {}", METHODS.join(", "));
            report.error(code::RANGE, format!("{path}.allowMethods[{index}]"), message);
        }
    }
    for (of, names) in
        [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)]
    {
        for (index, name) in names.iter().enumerate() {
            if !is_name(name) {
                let message = format!("{name:?} is no header's name: write it as in a request");
                report.error(code::PATTERN, format!("{path}.{of}[{index}]"), message);
            }
        }
    }
    let field = format!("{path}.maxAge");
    check_duration(cors.max_age.as_ref(), Zero::Refused, &field, report);
    let age = cors.max_age.as_ref().and_then(|age| nanoseconds(age)).unwrap_or_default();
    if age % 1_000_000_000 != 0 && age % 1_000_000 == 0 {
        let message = "browsers count in whole seconds: round it";
        report.error(code::DURATION, field, message);
    }
}

fn check_origins(cors: &CorsPolicy, path: &str, report: &mut Report<'_>) {
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        let field = format!("{path}.allowOrigins[{index}]");
        let texts = [&origin.exact, &origin.prefix, &origin.regex];
        let given = set([
            ("exact", origin.exact.is_some()),
            ("prefix", origin.prefix.is_some()),
            ("regex", origin.regex.is_some()),
        ]);
        if given.len() == 1 && texts.into_iter().flatten().any(String::is_empty) {
            let message = "an empty origin matches nothing: give it";
            report.error(code::PATTERN, field, message);
        } else if given.is_empty() {
            let message = "none of exact, prefix and regex is given: give one";
            report.error(code::ONE_OF, field, message);
        } else {
            check_text(origin, &field, report);
        }
    }
}
