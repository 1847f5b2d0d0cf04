//! One text of manifests as a statement: each document and object on its own, each error with the
//! document, the object and the field that it is about.

use agent_model::{
    resource::{Document, Object, Parsed, ResourceError, documents, parse, validate},
    snapshot::{Finding, Severity, code as model_code},
};

use super::store::{Claim, Statement, code};
use crate::observe::status::Note;

/// Reads a text. `place` names it for people.
pub(crate) fn read(place: &str, text: &str) -> Statement {
    let mut statement = Statement::default();
    for Document { number, line, value } in documents(text) {
        let spot = format!("document {number} (line {line})");
        match value {
            Ok(value) => {
                for parsed in parse(value) {
                    add(&mut statement, place, &spot, parsed);
                }
            }
            Err(error) => {
                statement.partial = true;
                statement.loose.push(unreadable(&format!("{place}, {spot}"), &error.to_string()));
            }
        }
    }
    statement
}

/// A place that cannot be read at all: what it said before still counts.
pub(crate) fn unreadable_place(place: &str, why: &str) -> Statement {
    let loose = vec![unreadable(place, why)];
    Statement { claims: Vec::new(), loose, partial: true }
}

fn unreadable(spot: &str, why: &str) -> Note {
    Note {
        severity: Severity::Error.name().into(),
        code: code::UNREADABLE.into(),
        message: format!("{why}; objects that were read from here before stay as they were"),
        place: Some(spot.to_owned()),
        ..Note::default()
    }
}

fn add(statement: &mut Statement, place: &str, spot: &str, parsed: Result<Parsed, ResourceError>) {
    match parsed {
        Ok(Parsed { object: Some(object), findings }) => {
            statement.claims.push(judge(spot, object, findings));
        }
        Ok(Parsed { object: None, findings }) => {
            let place = format!("{place}, {spot}");
            let notes = findings.iter().map(|finding| Note::new(finding, Some(place.clone())));
            statement.loose.extend(notes);
        }
        Err(error) => refuse(statement, place, spot, &error),
    }
}

fn refuse(statement: &mut Statement, place: &str, spot: &str, error: &ResourceError) {
    let Some(key) = error.key() else {
        statement.partial = true;
        let note = unreadable(&format!("{place}, {spot}"), &error.to_string());
        statement.loose.push(Note { field: error.field().to_owned(), ..note });
        return;
    };
    let code = model_code::UNREADABLE;
    let finding = Finding::new(Severity::Error, code, key, error.field(), reason(error));
    statement.claims.push(Claim {
        key: key.clone(),
        spot: spot.to_owned(),
        form: None,
        findings: vec![finding],
    });
}

/// What is wrong, without the object and the field, which have places of their own.
fn reason(error: &ResourceError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// An object with an error in it is broken as a whole: nothing is honoured in part.
fn judge(spot: &str, object: Object, mut findings: Vec<Finding>) -> Claim {
    findings.extend(validate(&object));
    let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
    let key = object.key();
    Claim { key, spot: spot.to_owned(), form: (!broken).then_some(object), findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {ports: [{port: many}]}
---
kind: [
---
apiVersion: v1
kind: Service
metadata: {namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
";

    #[test]
    fn each_trouble_names_its_document_object_and_field() {
        let read = read("a.yaml", MANY);
        assert!(read.partial);
        let claims: Vec<_> = read
            .claims
            .iter()
            .map(|claim| (claim.key.to_string(), claim.form.is_some(), claim.spot.as_str()))
            .collect();
        assert_eq!(
            claims,
            [
                ("Namespace shop".to_owned(), true, "document 1 (line 1)"),
                ("Service shop/db".to_owned(), false, "document 2 (line 4)"),
            ]
        );
        let finding = &read.claims[1].findings[0];
        assert_eq!(finding.field, "spec.ports[0].port");
        assert!(finding.message.contains("many"), "{}", finding.message);
        let loose: Vec<_> = read
            .loose
            .iter()
            .map(|note| (note.place.as_deref().unwrap_or(""), note.severity.as_ref()))
            .collect();
        assert_eq!(
            loose,
            [
                ("a.yaml, document 3 (line 9)", "error"),
                ("a.yaml, document 4 (line 11)", "error"),
                ("a.yaml, document 5 (line 15)", "info"),
            ]
        );
        assert_eq!(read.loose[1].field, "metadata.name");
    }

    #[test]
    fn a_text_without_objects_says_so_wholly() {
        let read = read("a.yaml", "# nothing\n---\n");
        assert!(read.claims.is_empty() && read.loose.is_empty() && !read.partial);
    }
}
