//! Texts that requests are held against.

use serde::Serialize;

use crate::pattern::Pattern;

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
