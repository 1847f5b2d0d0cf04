//! What routes change of a head's fields, folded: which names go, and which lines come.

use agent_model::requests::change::HeaderOps;

use super::head::{Role, role};

/// Changes of one direction, those of the route before those of the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    gone: Vec<&'a str>,
    lines: Vec<(&'a str, &'a str)>,
    host: Option<&'a str>,
}

impl<'a> Edits<'a> {
    /// Folds them in their order: of each one first what is set, then what is added, then what is
    /// removed. What frames a message or belongs to a connection no route may change.
    pub fn new(all: impl IntoIterator<Item = &'a HeaderOps>) -> Self {
        let mut edits = Self::default();
        for HeaderOps { set, add, remove } in all {
            for (name, value) in set {
                if matches!(name.as_str(), "host" | ":authority") {
                    edits.host = Some(value.as_str());
                } else if is_changeable(name) && is_value(value) {
                    edits.remove(name);
                    edits.lines.push((name.as_str(), value.as_str()));
                }
            }
            let addable =
                |(name, value): &(&'a String, &'a String)| is_changeable(name) && is_value(value);
            let added = add.iter().filter(addable);
            edits.lines.extend(added.map(|(name, value)| (name.as_str(), value.as_str())));
            for name in remove.iter().filter(|name| is_changeable(name)) {
                edits.remove(name);
            }
        }
        edits
    }

    /// Adds fields after all of that, each in place of what is there.
    pub fn append(&mut self, lines: &'a [(String, String)]) {
        for (name, value) in lines.iter().filter(|(name, _)| is_changeable(name)) {
            self.remove(name);
            if is_value(value) {
                self.lines.push((name, value));
            }
        }
    }

    /// Adds fields in place of those that came, unless a route has a say in them.
    pub fn supply(&mut self, lines: &'a [(String, String)]) {
        let has_say = |name: &str| {
            self.drops(name.as_bytes())
                || self.lines.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
        };
        let wanted: Vec<_> = lines.iter().filter(|(name, _)| !has_say(name)).collect();
        for (name, value) in wanted {
            self.remove(name);
            self.append_line(name, value);
        }
    }

    /// Adds a field beside what is there.
    pub fn append_line(&mut self, name: &'a str, value: &'a str) {
        if is_changeable(name) && is_value(value) {
            self.lines.push((name, value));
        }
    }

    fn remove(&mut self, name: &'a str) {
        self.lines.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.gone.push(name);
    }

    /// The host that a request is to have.
    pub fn host(&self) -> Option<&'a str> {
        self.host
    }

    /// Whether a field that came is left out.
    pub(crate) fn drops(&self, name: &[u8]) -> bool {
        self.gone.iter().any(|gone| gone.as_bytes().eq_ignore_ascii_case(name))
    }

    /// What comes after the fields that came.
    pub fn lines(&self) -> &[(&'a str, &'a str)] {
        &self.lines
    }
}

fn is_changeable(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token) && role(name) == Role::EndToEnd
}

/// A value that ended its line would make lines of its own.
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}
