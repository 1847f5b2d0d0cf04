//! What reading and checking find wrong with one object.

use agent_model::{
    finding::code,
    resource::{documents, parse, validate},
};

/// `code field` of all that is found but for what is only not applied yet; `unreadable field` where
/// the object cannot be read at all.
pub(crate) fn errors(manifest: &str) -> Vec<String> {
    let value = documents(manifest).remove(0).value.expect("YAML");
    let parsed = match parse(value).remove(0) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("unreadable {}", error.field())],
    };
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let object = parsed.object.expect("a kind that is read");
    let found = validate(&object).into_iter();
    found
        .filter(|finding| finding.code != code::NOT_SUPPORTED)
        .map(|finding| {
            assert!(finding.message.len() > 10, "{finding}");
            assert!(code::allows(finding.code, finding.severity), "{finding}");
            format!("{} {}", finding.code, finding.field)
        })
        .collect()
}
