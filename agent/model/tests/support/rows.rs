//! Rows of a table: what a rule means, an object that breaks it, and what is found of it.

use agent_model::finding::{Severity, code};
use agent_model::resource::{documents, parse, validate};

/// What a rule means, the object's `spec` as one breaks it, and all that is found: severity, code
/// and field.
pub(crate) type Row = (&'static str, &'static str, &'static [&'static str]);

pub(crate) fn object(api: &str, kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x, namespace: shop}}\nspec: {{{spec}}}\n"
    )
}

/// Severity, code and field of all that is found, but for what is only not applied yet.
pub(crate) fn found(manifest: &str) -> Vec<String> {
    let value = documents(manifest).remove(0).value.expect("YAML");
    let parsed = match parse(value).remove(0) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("unreadable {}", error.field())],
    };
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let object = parsed.object.expect("a kind that is read");
    let told = validate(&object).into_iter().filter(|one| one.code != code::NOT_SUPPORTED);
    told.map(|one| {
        assert!(one.message.len() > 10, "{one}");
        assert!(one.severity == Severity::Info || one.message.contains([':', ',', ' ']), "{one}");
        format!("{} {} {}", one.severity.name(), one.code, one.field)
    })
    .collect()
}

pub(crate) fn hold(api: &str, kind: &str, rows: &[Row]) {
    for (meaning, spec, expected) in rows {
        assert_eq!(found(&object(api, kind, spec)), *expected, "{kind}, {meaning}: {spec}");
    }
}
