//! One text of manifests as a statement: each document and object on its own, each error with the
//! document, the object and the field that it is about.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
};

use agent_model::resource::{Part, may_be, split};

use crate::{
    object::{Read, Said, Spot, Untold, read_value, state},
    statement::Statement,
};

/// Reads one text again and again. A document whose text did not change is not read again: of
/// 100,000 addresses in 400 documents, 85 ms of reading become the few of finding what changed.
#[derive(Debug, Default)]
pub struct Reader {
    /// What each document said, by the hash of its text.
    known: HashMap<u64, Vec<Said>>,
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
            let within = format!("document {} (line {})", part.number, part.line);
            let spot = Spot { place, within: &within };
            let read = match before.remove(&hash).or_else(|| self.known.get(&hash).cloned()) {
                Some(said) => Read { said, refused: Vec::new() },
                None => read_part(part),
            };
            // What cannot be told is read again, since what it says names its document.
            if read.refused.is_empty() {
                self.known.insert(hash, read.said.clone());
            }
            state(&mut statement, read, spot);
        }
        statement
    }
}

/// Reads a text once.
pub fn read(place: &str, text: &str) -> Statement {
    Reader::default().read(place, text)
}

fn read_part(part: Part<'_>) -> Read {
    match part.read().map(|document| document.value) {
        None => Read::default(),
        Some(Ok(value)) => read_value(value),
        Some(Err(error)) => {
            let (field, why) = (String::new(), error.to_string());
            let may_be = may_be(part.text);
            Read { said: Vec::new(), refused: vec![Untold { field, why, may_be }] }
        }
    }
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
                // Of what cannot be told it may be the settings of the mesh.
                (
                    "ConfigMap istio-system/a.yaml, document 3 (line 9)".to_owned(),
                    false,
                    "document 3 (line 9)"
                ),
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
        assert_eq!(again.claims.iter().filter(|claim| !claim.is_guess).count(), 3);
        assert_eq!(again.claims.len(), 4);
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
