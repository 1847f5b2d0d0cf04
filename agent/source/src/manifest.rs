//! One text of manifests as a statement: each document and object on its own, each error with the
//! document, the object and the field that it is about.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
};

use agent_model::{
    resource::{Object, Parsed, Part, ResourceError, Short, parse, split, validate},
    snapshot::{Finding, Severity, code as model_code},
};
use serde_json::Value;

use super::store::{Claim, Statement, code};
use crate::note::Note;

/// Reads one text again and again. A document whose text did not change is not read again: of
/// 100,000 addresses in 400 documents, 85 ms of reading become the few of finding what changed.
#[derive(Debug, Default)]
pub struct Reader {
    /// What each document said, by the hash of its text.
    known: HashMap<u64, Vec<Said>>,
}

/// What a document says about one object, wherever the document stands.
#[derive(Clone, Debug)]
enum Said {
    /// Something about an object.
    Claim(Claim),
    /// Something about what is no object for us.
    Loose(Note),
}

/// The hash of a text. A change that keeps it would go unseen: one in 2^64.
pub fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Reader {
    /// Reads a text. `place` names it for people.
    pub fn read(&mut self, place: &str, text: &str) -> Statement {
        let mut before = mem::take(&mut self.known);
        let mut statement = Statement::default();
        for part in split(text) {
            let hash = hash(part.text);
            let spot = format!("document {} (line {})", part.number, part.line);
            let said = match before.remove(&hash).or_else(|| self.known.get(&hash).cloned()) {
                Some(said) => said,
                None => match read_part(part, &mut statement, (place, &spot)) {
                    Some(said) => said,
                    None => continue,
                },
            };
            for said in &said {
                state(&mut statement, said.clone(), (place, &spot));
            }
            self.known.insert(hash, said);
        }
        statement
    }
}

/// Reads a text once.
pub fn read(place: &str, text: &str) -> Statement {
    Reader::default().read(place, text)
}

/// What a document says; `None` when it cannot be told, which the statement then says.
fn read_part(
    part: Part<'_>,
    statement: &mut Statement,
    (place, spot): (&str, &str),
) -> Option<Vec<Said>> {
    let Some(document) = part.read() else { return Some(Vec::new()) };
    let (all, refused) = match document.value {
        Ok(value) => read_value(value),
        Err(error) => (Vec::new(), vec![(String::new(), error.to_string())]),
    };
    if refused.is_empty() {
        return Some(all);
    }
    state_in_part(statement, (all, refused), (place, spot));
    None
}

/// Reads one object that is no text any more, for instance one that an API server sent.
pub fn read_object(place: &str, spot: &str, value: Value) -> Statement {
    let mut statement = Statement::default();
    let (all, refused) = read_value(value);
    if refused.is_empty() {
        for said in all {
            state(&mut statement, said, (place, spot));
        }
    } else {
        state_in_part(&mut statement, (all, refused), (place, spot));
    }
    statement
}

/// What is said about objects, and the field and the reason of each that cannot be told.
type Read = (Vec<Said>, Vec<(String, String)>);

fn read_value(value: Value) -> Read {
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    for parsed in parse(value) {
        match said(parsed) {
            Ok(said) => all.extend(said),
            Err(error) => refused.push((error.field().to_owned(), error.to_string())),
        }
    }
    (all, refused)
}

fn state_in_part(statement: &mut Statement, (all, refused): Read, (place, spot): (&str, &str)) {
    statement.partial = true;
    for (field, why) in refused {
        let note = unreadable(&format!("{place}, {spot}"), &why);
        statement.loose.push(note.about(field));
    }
    for said in all {
        state(statement, said, (place, spot));
    }
}

fn state(statement: &mut Statement, said: Said, (place, spot): (&str, &str)) {
    match said {
        Said::Claim(claim) => statement.claims.push(Claim { spot: spot.into(), ..claim }),
        Said::Loose(note) => {
            statement.loose.push(note.at(format!("{place}, {spot}")));
        }
    }
}

/// What an item of a document says; an error when it does not even say about which object.
fn said(parsed: Result<Parsed, ResourceError>) -> Result<Vec<Said>, ResourceError> {
    match parsed {
        Ok(Parsed { object: Some(object), findings }) => {
            Ok(vec![Said::Claim(judge(object, findings))])
        }
        Ok(Parsed { object: None, findings }) => {
            Ok(findings.iter().map(|finding| Said::Loose(Note::new(finding, None))).collect())
        }
        Err(error) => {
            let Some(key) = error.key().cloned() else { return Err(error) };
            let code = model_code::UNREADABLE;
            let finding = Finding::new(Severity::Error, code, &key, error.field(), reason(&error));
            Ok(vec![Said::Claim(Claim {
                key: key.into(),
                spot: Short::default(),
                form: None,
                findings: vec![finding],
            })])
        }
    }
}

/// A place that cannot be read at all: what it said before still counts.
pub(crate) fn unreadable_place(place: &str, why: &str) -> Statement {
    let loose = vec![unreadable(place, why)];
    Statement { claims: Vec::new(), loose, partial: true }
}

fn unreadable(spot: &str, why: &str) -> Note {
    let message = format!("{why}; objects that were read from here before stay as they were");
    Note::loose(Severity::Error, code::UNREADABLE, message).at(spot.to_owned())
}

/// What is wrong, without the object and the field, which have places of their own.
fn reason(error: &ResourceError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// An object with an error in it is broken as a whole: nothing is honoured in part.
fn judge(object: Object, mut findings: Vec<Finding>) -> Claim {
    findings.extend(validate(&object));
    findings.shrink_to_fit();
    let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
    let key = object.key().into();
    Claim { key, spot: Short::default(), form: (!broken).then_some(object), findings }
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
            .map(|note| (note.place.as_deref().unwrap_or(""), note.finding.severity.name()))
            .collect();
        assert_eq!(
            loose,
            [
                ("a.yaml, document 3 (line 9)", "error"),
                ("a.yaml, document 4 (line 11)", "error"),
                ("a.yaml, document 5 (line 15)", "info"),
            ]
        );
        assert_eq!(read.loose[1].finding.field, "metadata.name");
    }

    #[test]
    fn what_did_not_change_is_not_read_again_and_stands_where_it_stands_now() {
        let mut reader = Reader::default();
        let before = reader.read("a.yaml", &format!("---\n{MANY}"));
        let moved = format!(
            "# moved\n---\n{MANY}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: new}}\n"
        );
        let again = reader.read("a.yaml", &moved);
        let form = |statement: &Statement, at: usize| statement.claims[at].form.clone();
        assert!(form(&before, 0).unwrap().is_same(&form(&again, 0).unwrap()));
        assert_eq!(again.claims[0].spot, "document 2 (line 2)");
        assert_eq!(again.claims.len(), 3);
        // Read whole, it says the same.
        let whole = read("a.yaml", &moved);
        assert_eq!(format!("{again:?}"), format!("{whole:?}"));
    }

    #[test]
    fn a_document_that_stands_twice_counts_twice() {
        let text = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: new}\n".repeat(2);
        let mut reader = Reader::default();
        for _ in 0..2 {
            assert_eq!(reader.read("a.yaml", &text).claims.len(), 2);
        }
    }

    #[test]
    fn an_object_with_an_error_in_it_is_broken_as_a_whole() {
        let read = read(
            "a.yaml",
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db}\n\
             spec: {hosts: [a.example], ports: [{number: 70000, name: tcp, protocol: TCP}]}\n",
        );
        assert_eq!((read.claims.len(), read.claims[0].form.is_some()), (1, false));
        assert!(!read.partial);
    }

    #[test]
    fn a_text_without_objects_says_so_wholly() {
        let read = read("a.yaml", "# nothing\n---\n");
        assert!(read.claims.is_empty() && read.loose.is_empty() && !read.partial);
    }
}
