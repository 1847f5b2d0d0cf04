//! Regular expressions as the dialects write them.

use std::fmt;

use regex::Regex;
use serde::{Serialize, Serializer};

/// A regular expression that is to match a whole text. Two are equal when they are written equally.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    whole: Regex,
}

impl Pattern {
    /// Reads an expression.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        let ours = in_our_words(source);
        // By itself first: an unbalanced bracket must not become part of ours.
        Regex::new(&ours)?;
        let whole = Regex::new(&format!(r"\A(?:{ours})\z"))?;
        Ok(Self { source: source.to_owned(), whole })
    }

    /// As it is written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it matches all of a text.
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// A text with each match replaced; `\1` stands for the first group.
    pub fn replace_all(&self, text: &str, replacement: &str) -> String {
        let Ok(part) = Regex::new(&in_our_words(&self.source)) else { return text.to_owned() };
        part.replace_all(text, backslashes_to_dollars(replacement).as_str()).into_owned()
    }
}

/// RE2 takes a brace that repeats nothing for itself, as in `/{id}`, and so it does in brackets with
/// a bracket that opens no class and with the signs that join sets here.
fn in_our_words(source: &str) -> String {
    let mut text = String::new();
    let mut rest = source;
    let mut in_brackets = false;
    while let Some(letter) = rest.chars().next() {
        let (this, after) = rest.split_at(letter.len_utf8());
        rest = after;
        match letter {
            '\\' => {
                // With what it escapes, and the braces of a class or of a number.
                let named = after.starts_with(['p', 'P', 'x']) && after[1..].starts_with('{');
                let end = if named { after.find('}').map_or(after.len(), |at| at + 1) } else { 1 };
                let end = (end..=after.len()).find(|at| after.is_char_boundary(*at));
                let (escaped, after) = after.split_at(end.unwrap_or(after.len()));
                text.extend([this, escaped]);
                rest = after;
            }
            '[' if !in_brackets => {
                in_brackets = true;
                // The first bracket in brackets is itself.
                let negated = usize::from(after.starts_with('^'));
                let first = negated + usize::from(after[negated..].starts_with(']'));
                let (start, after) = after.split_at(first);
                text.extend([this, start]);
                rest = after;
            }
            '[' if after.starts_with(':') => {
                let end = after.find(":]").map_or(0, |at| at + 2);
                let (class, after) = after.split_at(end);
                text.extend([this, class]);
                rest = after;
            }
            '[' | '&' | '~' if in_brackets => text.extend(["\\", this]),
            ']' => {
                in_brackets = false;
                text.push(letter);
            }
            '{' if !in_brackets && !repeats(after) => text.push_str("\\{"),
            _ => text.push(letter),
        }
    }
    text
}

/// Whether what follows a brace is `N}`, `N,}` or `N,M}`.
fn repeats(after: &str) -> bool {
    let Some((counts, _)) = after.split_once('}') else { return false };
    let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

/// The dialects write `\1` for a group where the library writes `${1}`.
fn backslashes_to_dollars(replacement: &str) -> String {
    let mut text = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(letter) = rest.next() {
        match (letter, rest.peek()) {
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                text.extend(["${", &digit.to_string(), "}"]);
                rest.next();
            }
            ('\\', Some('\\')) => {
                text.push('\\');
                rest.next();
            }
            ('$', _) => text.push_str("$$"),
            _ => text.push(letter),
        }
    }
    text
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.source)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_re2_reads_them() {
        for (source, text, expected) in [
            ("/users/{id}", "/users/{id}", true),
            ("/{*}", "/{{}", true),
            ("{x}", "{x}", true),
            ("a{2}", "aa", true),
            ("a{2,}", "aaa", true),
            ("a{2,3}", "a", false),
            (r"\x{61}\{", "a{", true),
            (r"\p{Greek}", "α", true),
            ("[[]", "[", true),
            ("[]a]+", "]a", true),
            ("[a&&b]", "&", true),
            ("[^/]+", "ab", true),
            ("[[:alpha:]{]+", "a{", true),
            (r"é\.{1}", "é.", true),
        ] {
            let pattern = Pattern::new(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            assert_eq!(pattern.matches(text), expected, "{source} {text}");
        }
        for source in ["(", "a)", "[a", "*a", "(?=a)", "\\"] {
            assert!(Pattern::new(source).is_err(), "{source}");
        }
    }
}
