//! What is changed of requests and answers on their way.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pattern::Pattern;

/// What a request's path and host become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rewrite {
    /// The host.
    pub authority: Option<String>,
    /// The path; the query stays.
    pub path: Option<PathRewrite>,
}

/// What a path becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PathRewrite {
    /// The prefix that was matched becomes this.
    Prefix {
        /// What was matched.
        matched: String,
        /// What it becomes.
        to: String,
    },
    /// The same, for a prefix of whole segments: none of the slashes around it is doubled.
    Segments {
        /// What was matched.
        matched: String,
        /// What it becomes.
        to: String,
    },
    /// All of it becomes this.
    Whole(String),
    /// Each match becomes this.
    Pattern {
        /// What is looked for.
        pattern: Pattern,
        /// What it becomes, with `\1` for groups.
        to: String,
    },
}

impl PathRewrite {
    /// A prefix that becomes another; none if it stays the same.
    pub fn prefix(matched: &str, to: &str) -> Option<Self> {
        let (matched, to) = (matched.to_owned(), to.to_owned());
        (matched != to).then_some(Self::Prefix { matched, to })
    }

    /// What a path with its query becomes.
    pub fn apply(&self, target: &str) -> String {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = match self {
            // The match may have ignored case, so only the length counts.
            Self::Prefix { matched, to } => format!("{to}{}", rest(path, matched)),
            Self::Segments { matched, to } => {
                let rest = rest(path, matched);
                format!("{}/{}", to.trim_end_matches('/'), rest.trim_start_matches('/'))
            }
            Self::Whole(to) => to.clone(),
            Self::Pattern { pattern, to } => pattern.replace_all(path, to),
        };
        match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }
}

fn rest<'a>(path: &'a str, matched: &str) -> &'a str {
    path.get(matched.len()..).unwrap_or_default()
}

/// An answer that sends the client elsewhere; what is `None` stays as in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// The path.
    pub path: Option<PathRewrite>,
    /// The host.
    pub authority: Option<String>,
    /// The port.
    pub port: RedirectPort,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The status.
    pub status: u16,
}

/// A redirect's port. One that is the scheme's own is never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RedirectPort {
    /// The scheme's own where scheme or host change, else as in the request.
    Default,
    /// The one that the request's host names.
    OfRequest,
    /// This.
    Fixed(u16),
}

/// An answer made on the spot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// What it carries.
    pub body: Vec<u8>,
}

/// Changes of headers, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderChanges {
    /// Of the request.
    pub request: HeaderOps,
    /// Of the answer.
    pub response: HeaderOps,
}

/// Changes of headers in one direction: set, then add, then remove. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderOps {
    /// In place of what is there.
    pub set: BTreeMap<String, String>,
    /// Beside what is there.
    pub add: BTreeMap<String, String>,
    /// Taken away.
    pub remove: Vec<String>,
}
