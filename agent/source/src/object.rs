//! One object as a statement, or what is wrong with it: what a document of a file holds, and what an
//! API server sends.

use std::sync::Arc;

use agent_model::{
    finding::{Finding, Severity, code as model_code},
    resource::{
        Kind, MayBe, Object, ObjectKey, Parsed, Refused, ResourceError, Short, may_be, parse,
        validate,
    },
};
use serde_json::Value;

use crate::{
    code,
    note::Note,
    statement::{Claim, Statement},
};

/// Where something stands, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    /// A file, or an object of a server.
    pub(crate) place: &'a str,
    /// Where in it.
    pub(crate) within: &'a str,
}

/// What a document says about one object, wherever the document stands.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Something about an object.
    Claim(Claim),
    /// Something about what is no object for us.
    Loose(Note),
}

/// Reads one object that is no text any more, for instance one that an API server sent.
pub fn read_object(place: &str, within: &str, value: Value) -> Statement {
    let mut statement = Statement::default();
    state(&mut statement, read_value(value), Spot { place, within });
    statement
}

/// What a value says.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// About objects.
    pub(crate) said: Vec<Said>,
    /// What cannot be told.
    pub(crate) refused: Vec<Untold>,
}

/// Something of which it cannot be told what it says.
#[derive(Debug)]
pub(crate) struct Untold {
    /// The field.
    pub(crate) field: String,
    /// The reason.
    pub(crate) why: String,
    /// The objects that restrict and that it may be.
    pub(crate) may_be: Vec<MayBe>,
}

pub(crate) fn read_value(value: Value) -> Read {
    let mut read = Read::default();
    for parsed in parse(value) {
        match said(parsed) {
            Ok(said) => read.said.extend(said),
            Err(error) => {
                let (field, why) = (error.field().to_owned(), error.reason());
                let may_be = error.may_be().cloned().into_iter().collect();
                read.refused.push(Untold { field, why, may_be });
            }
        }
    }
    read
}

/// Adds to a statement what a value says.
pub(crate) fn state(statement: &mut Statement, read: Read, spot: Spot<'_>) {
    statement.partial |= !read.refused.is_empty();
    for Untold { field, why, may_be } in read.refused {
        statement.loose.push(unreadable(&spot.text(), &why).about(field));
        statement.claims.extend(may_be.into_iter().filter_map(|one| claim(one, spot)));
    }
    for said in read.said {
        match said {
            Said::Claim(claim) => {
                statement.claims.push(Claim { spot: spot.within.into(), ..claim });
            }
            Said::Loose(note) => statement.loose.push(note.at(spot.text())),
        }
    }
}

impl Spot<'_> {
    fn text(self) -> String {
        format!("{}, {}", self.place, self.within)
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
            let finding = Finding::new(Severity::Error, code, &key, error.field(), error.reason());
            Ok(vec![Said::Claim(Claim {
                key: key.into(),
                spot: Short::default(),
                form: None,
                refused: error.refused().cloned(),
                findings: vec![finding],
                is_guess: false,
            })])
        }
    }
}

/// What something may be that cannot be told, if that restricts.
fn claim((kind, namespace): MayBe, spot: Spot<'_>) -> Option<Claim> {
    let anywhere = kind == Kind::Namespace || (kind.is_namespaced() && namespace.is_none());
    let key = ObjectKey::new(kind, namespace.unwrap_or_default(), spot.text());
    let refused = Some(Arc::new(Refused::unnamed(&key, anywhere)?));
    let (key, spot) = (key.into(), spot.within.into());
    Some(Claim { key, spot, form: None, refused, findings: Vec::new(), is_guess: true })
}

/// A place that cannot be read at all, where something was read before: that still counts.
pub(crate) fn unreadable_now(place: &str, why: &str) -> Statement {
    Statement { claims: Vec::new(), ..unreadable_place(place, why) }
}

/// A place that cannot be read at all: what it said before still counts.
pub(crate) fn unreadable_place(place: &str, why: &str) -> Statement {
    let loose = vec![unreadable(place, why)];
    let spot = Spot { place, within: "all of it" };
    let claims = may_be("").into_iter().filter_map(|one| claim(one, spot)).collect();
    Statement { claims, loose, partial: true }
}

fn unreadable(spot: &str, why: &str) -> Note {
    let message = format!("{why}; objects that were read from here before stay as they were");
    Note::loose(Severity::Error, code::UNREADABLE, message).at(spot.to_owned())
}

/// An object with an error in it is broken as a whole: nothing is honoured in part.
fn judge(object: Object, mut findings: Vec<Finding>) -> Claim {
    findings.extend(validate(&object));
    findings.shrink_to_fit();
    let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
    let key = object.key().into();
    let refused = if broken { Refused::of(&object, &findings).map(Arc::new) } else { None };
    let form = (!broken).then_some(object);
    Claim { key, spot: Short::default(), form, refused, findings, is_guess: false }
}
