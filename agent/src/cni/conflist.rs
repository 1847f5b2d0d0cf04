//! A node's CNI configuration as text, with our entry put in and taken out. Pure: what is read and
//! written is for `install`.
//!
//! Everything that is not ours stays as it is written, unknown fields, blanks and the order included:
//! our entry is put into the text, and it is cut out of it.

use std::{ops::Range, str};

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::plugin::NAME;

#[cfg(test)]
mod tests;

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConflistError {
    /// It is not JSON, or a field is of another type.
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
    /// It is no text.
    #[error("it is not UTF-8")]
    Utf8(#[from] str::Utf8Error),
    /// A list without plugins, or a plugin without a type.
    #[error("it has no field {field}")]
    Missing {
        /// The field.
        field: &'static str,
    },
}

type Raw = Box<RawValue>;
type Fields = IndexMap<String, Raw>;

/// How a file is to be read, by the last part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `.conflist`.
    List,
    /// `.conf` and `.json`: one plugin.
    Single,
}

/// The shape of a file that a runtime reads (go-cni, `loadFromConfDir`).
pub(super) fn shape(name: &str) -> Option<Shape> {
    match name.rsplit_once('.')?.1 {
        "conflist" => Some(Shape::List),
        "conf" | "json" => Some(Shape::Single),
        _ => None,
    }
}

/// The end of a name of ours, which sorts before the dot of any ending.
const OURS: &str = "-sekisho.conflist";

/// The list that we make of a single plugin's file: its name comes directly before that one's.
pub(super) fn name_for(single: &str) -> String {
    let stem = single.rsplit_once('.').map_or(single, |(stem, _)| stem);
    format!("{stem}{OURS}")
}

/// Whether a file is one that we have made.
pub(super) fn is_made_by_us(name: &str) -> bool {
    name.ends_with(OURS)
}

/// A list with our entry: at the end where there was none, else in its place. `None` when it says
/// just that already.
pub(super) fn insert(text: &[u8], entry: &Value) -> Result<Option<String>, ConflistError> {
    let list = List::read(text)?;
    let found = list.ours();
    let same = |at: &usize| {
        serde_json::from_str::<Value>(list.plugin(*at)).is_ok_and(|there| there == *entry)
    };
    let Some((first, extra)) = found.split_first() else {
        // As far from the plugin before it as that one is from what comes before.
        let end_of_list = list.plugins.len() - 1;
        let entry = format!(",{}{entry}", list.blank_before(end_of_list));
        let end = list.plugins[end_of_list].end;
        return Ok(Some(list.with(&[(end..end, entry)])));
    };
    if extra.is_empty() && same(first) {
        return Ok(None);
    }
    let mut changes = vec![(list.plugins[*first].clone(), entry.to_string())];
    changes.extend(extra.iter().map(|at| (list.whole(*at), String::new())));
    Ok(Some(list.with(&changes)))
}

/// A list without our entry; `None` when there is none.
pub(super) fn remove(text: &[u8]) -> Result<Option<String>, ConflistError> {
    let list = List::read(text)?;
    let found = list.ours();
    if found.is_empty() {
        return Ok(None);
    }
    let first_of_theirs = (0..list.plugins.len()).find(|at| !found.contains(at));
    let changes = found.into_iter().map(|at| {
        let range = match first_of_theirs {
            // What comes before all of theirs takes the comma behind it along.
            Some(first) if at < first => list.plugins[at].start..list.plugins[at + 1].start,
            _ => list.whole(at),
        };
        (range, String::new())
    });
    Ok(Some(list.with(&changes.collect::<Vec<_>>())))
}

/// The text of a list, and where in it each plugin is.
struct List<'a> {
    text: &'a str,
    plugins: Vec<Range<usize>>,
}

impl<'a> List<'a> {
    fn read(text: &'a [u8]) -> Result<Self, ConflistError> {
        let text = str::from_utf8(text)?;
        let fields: IndexMap<String, &RawValue> = serde_json::from_str(text)?;
        let plugins = fields.get(PLUGINS).ok_or(ConflistError::Missing { field: PLUGINS })?;
        let plugins: Vec<&RawValue> = serde_json::from_str(plugins.get())?;
        if plugins.is_empty() {
            return Err(ConflistError::Missing { field: PLUGINS });
        }
        // The plugins are parts of the text.
        let range = |raw: &&RawValue| {
            let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
            start..start + raw.get().len()
        };
        Ok(Self { text, plugins: plugins.iter().map(range).collect() })
    }

    fn plugin(&self, at: usize) -> &'a str {
        &self.text[self.plugins[at].clone()]
    }

    /// Where our entry is: once, unless the file was edited to have it twice.
    fn ours(&self) -> Vec<usize> {
        #[derive(Deserialize)]
        struct Plugin {
            #[serde(rename = "type")]
            kind: String,
        }
        let is_ours = |at: &usize| {
            serde_json::from_str::<Plugin>(self.plugin(*at)).is_ok_and(|one| one.kind == NAME)
        };
        (0..self.plugins.len()).filter(is_ours).collect()
    }

    /// A plugin with the comma before it.
    fn whole(&self, at: usize) -> Range<usize> {
        let Range { start, end } = self.plugins[at];
        if at == 0 { start..end } else { self.plugins[at - 1].end..end }
    }

    /// What is between a plugin and the bracket or comma before it.
    fn blank_before(&self, at: usize) -> &'a str {
        let before = &self.text[..self.plugins[at].start];
        &before[before.trim_end().len()..]
    }

    /// The text with other words at these places, which are in order.
    fn with(&self, changes: &[(Range<usize>, String)]) -> String {
        let (mut text, mut from) = (String::new(), 0);
        for (range, words) in changes {
            text.push_str(&self.text[from..range.start]);
            text.push_str(words);
            from = range.end;
        }
        text + &self.text[from..]
    }
}

/// A list of a single plugin and our entry.
pub(super) fn wrap(text: &[u8], entry: &Value) -> Result<String, ConflistError> {
    let plugin: Fields = serde_json::from_slice(text)?;
    if !plugin.contains_key("type") {
        return Err(ConflistError::Missing { field: "type" });
    }
    let name = plugin.get("name").ok_or(ConflistError::Missing { field: "name" })?;
    // What names no version is of the oldest, which has no lists: 0.3.1 is the next.
    let version = match plugin.get("cniVersion") {
        Some(version) => version.clone(),
        None => RawValue::from_string("\"0.3.1\"".into())?,
    };
    let raw: Raw = serde_json::from_slice(text)?;
    let mut fields: Fields = [
        ("cniVersion".to_owned(), version),
        ("name".to_owned(), name.clone()),
        (PLUGINS.to_owned(), RawValue::from_string("[]".into())?),
    ]
    .into();
    join(&mut fields, &[raw, RawValue::from_string(entry.to_string())?])
}

const PLUGINS: &str = "plugins";

/// Indented as most of these files are, so that a person still reads them.
fn join(fields: &mut Fields, plugins: &[Raw]) -> Result<String, ConflistError> {
    let list = plugins.iter().map(|raw| format!("\n    {}", raw.get())).collect::<Vec<_>>();
    let list = RawValue::from_string(format!("[{}\n  ]", list.join(",")))?;
    // In its old place: an insertion of a key that is there keeps the order.
    fields.insert(PLUGINS.to_owned(), list);
    let lines = fields
        .iter()
        .map(|(name, raw)| Ok(format!("\n  {}: {}", serde_json::to_string(name)?, raw.get())));
    let lines = lines.collect::<Result<Vec<_>, serde_json::Error>>()?;
    Ok(format!("{{{}\n}}\n", lines.join(",")))
}
