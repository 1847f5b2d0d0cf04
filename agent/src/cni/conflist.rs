//! A node's CNI configuration as text, with our entry put in and taken out. Pure: what is read and
//! written is for `install`.
//!
//! Everything that is not ours stays as it is written, unknown fields and the order included: its
//! text is moved and never read.

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
    let (mut fields, mut plugins) = parts(text)?;
    let mut found = ours(&plugins);
    let first = if found.is_empty() { None } else { Some(found.remove(0)) };
    let same = |at: &usize| {
        serde_json::from_str::<Value>(plugins[*at].get()).is_ok_and(|there| there == *entry)
    };
    if found.is_empty() && first.as_ref().is_some_and(same) {
        return Ok(None);
    }
    let raw = RawValue::from_string(entry.to_string())?;
    for extra in found.into_iter().rev() {
        plugins.remove(extra);
    }
    match first {
        Some(at) => plugins[at] = raw,
        None => plugins.push(raw),
    }
    Ok(Some(join(&mut fields, &plugins)?))
}

/// A list without our entry; `None` when there is none.
pub(super) fn remove(text: &[u8]) -> Result<Option<String>, ConflistError> {
    let (mut fields, mut plugins) = parts(text)?;
    let found = ours(&plugins);
    if found.is_empty() {
        return Ok(None);
    }
    for at in found.into_iter().rev() {
        plugins.remove(at);
    }
    join(&mut fields, &plugins).map(Some)
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

fn parts(text: &[u8]) -> Result<(Fields, Vec<Raw>), ConflistError> {
    let fields: Fields = serde_json::from_slice(text)?;
    let plugins = fields.get(PLUGINS).ok_or(ConflistError::Missing { field: PLUGINS })?;
    let plugins: Vec<Raw> = serde_json::from_str(plugins.get())?;
    if plugins.is_empty() {
        return Err(ConflistError::Missing { field: PLUGINS });
    }
    Ok((fields, plugins))
}

/// Where our entry is: once, unless somebody has written it twice.
fn ours(plugins: &[Raw]) -> Vec<usize> {
    #[derive(Deserialize)]
    struct Plugin {
        #[serde(rename = "type")]
        kind: String,
    }
    let is_ours = |raw: &Raw| {
        serde_json::from_str::<Plugin>(raw.get()).is_ok_and(|plugin| plugin.kind == NAME)
    };
    plugins.iter().enumerate().filter(|(_, raw)| is_ours(raw)).map(|(at, _)| at).collect()
}

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
