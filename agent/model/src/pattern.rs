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
        // By itself first: an unbalanced bracket must not become part of ours.
        Regex::new(source)?;
        let whole = Regex::new(&format!(r"\A(?:{source})\z"))?;
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
        let Ok(part) = Regex::new(&self.source) else { return text.to_owned() };
        part.replace_all(text, backslashes_to_dollars(replacement).as_str()).into_owned()
    }
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
