//! Which objects that restrict a text may hold that cannot be read.

use crate::resource::{Kind, mesh_config};

use super::selecting_field;

/// An object of a kind, in a namespace or in any.
pub type MayBe = (Kind, Option<String>);

/// By the kinds that it names. A text that names none may at least be the settings of the mesh, without
/// which all that no rule names is let out.
pub fn may_be(text: &str) -> Vec<MayBe> {
    let words: Vec<&str> = kinds(text).collect();
    if words.is_empty() {
        return vec![(Kind::ConfigMap, Some(mesh_config::NAMESPACE.to_owned()))];
    }
    let restricts =
        |kind: &&Kind| selecting_field(**kind).is_some() && words.contains(&kind.name());
    let found = Kind::ALL.iter().filter(restricts).filter_map(|kind| match kind {
        Kind::ConfigMap if !text.contains(mesh_config::NAMESPACE) => None,
        Kind::ConfigMap => Some((*kind, Some(mesh_config::NAMESPACE.to_owned()))),
        other => Some((*other, None)),
    });
    found.collect()
}

/// The words that follow `kind:`, with quotes or without.
fn kinds(text: &str) -> impl Iterator<Item = &str> {
    let is_quote = |c: char| c == '"' || c == '\'';
    text.match_indices("kind").filter_map(move |(at, word)| {
        if text[..at].ends_with(char::is_alphanumeric) {
            return None;
        }
        let rest = text[at + word.len()..].trim_start_matches(is_quote).trim_start();
        let value = rest.strip_prefix(':')?.trim_start().trim_start_matches(is_quote);
        let end = value.find(|c: char| !c.is_alphanumeric()).unwrap_or(value.len());
        (end > 0).then(|| &value[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_text_may_be_what_it_names() {
        let settings = (Kind::ConfigMap, Some("istio-system".to_owned()));
        for (text, expected) in [
            ("apiVersion: v1\nkind: Service\nspec: [", vec![]),
            ("kind: Sidecar\nspec: [", vec![(Kind::Sidecar, None)]),
            ("{\"kind\": \"Mesh\", [", vec![(Kind::Mesh, None)]),
            ("{kind: 'VirtualNode', ", vec![(Kind::VirtualNode, None)]),
            ("mankind: Sidecar\nkind: Service: [", vec![]),
            ("kind: ConfigMap\nmetadata: {name: a, ", vec![]),
            ("kind: ConfigMap\nmetadata: {namespace: istio-system, ", vec![settings.clone()]),
            ("kind: [", vec![settings.clone()]),
            ("", vec![settings]),
        ] {
            assert_eq!(may_be(text), expected, "{text}");
        }
    }
}
