//! Texts that requests are held against.

use std::fmt;

use regex::Regex;
use serde::{Serialize, Serializer};

/// What a text must be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Text {
    /// This.
    Exact(String),
    /// It starts with this; a plain prefix, not one of path segments.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// All of it matches.
    Pattern(Pattern),
}

impl Text {
    /// Whether a text is like that.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::Pattern(pattern) => pattern.matches(text),
        }
    }

    /// As [`Self::matches`], for both cases of ASCII letters. Patterns say so themselves.
    pub fn matches_any_case(&self, text: &str) -> bool {
        let lower = |text: &str| text.to_ascii_lowercase();
        match self {
            Self::Exact(exact) => text.eq_ignore_ascii_case(exact),
            Self::Prefix(prefix) => lower(text).starts_with(&lower(prefix)),
            Self::Suffix(suffix) => lower(text).ends_with(&lower(suffix)),
            Self::Pattern(pattern) => pattern.matches(text),
        }
    }
}

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

/// What a header must be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderMatch {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: ValueMatch,
    /// Whether it must not be like that.
    pub invert: bool,
    /// Whether a header that is missing counts as an empty one; else it fits nothing, inverted or
    /// not.
    pub missing_is_empty: bool,
}

/// What a value must be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ValueMatch {
    /// It is there.
    Present,
    /// It is like this.
    Text(Text),
    /// It is a number from the first up to and without the second.
    Range(i64, i64),
}

impl HeaderMatch {
    /// Whether a header's value fits; `None` is a missing header.
    pub fn matches(&self, value: Option<&str>) -> bool {
        if self.value == ValueMatch::Present {
            return value.is_some() != self.invert;
        }
        let value = value.or(self.missing_is_empty.then_some(""));
        value.is_some_and(|value| self.value.matches(value) != self.invert)
    }
}

impl ValueMatch {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Text(text) => text.matches(value),
            Self::Range(start, end) => {
                value.parse::<i64>().is_ok_and(|number| (*start..*end).contains(&number))
            }
        }
    }
}

/// What a parameter of the query must be like; without a text it must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueryMatch {
    /// Its name.
    pub name: String,
    /// Its first value.
    pub value: Option<Text>,
}
