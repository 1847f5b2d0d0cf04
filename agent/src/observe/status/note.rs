//! A finding as people and other programs read it.

use agent_model::{
    finding::{Finding, Severity},
    resource::Short,
};
use serde::{Deserialize, Serialize};

use super::Text;

/// The names of [`Severity`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Severity", rename_all = "kebab-case")]
enum SeverityName {
    Info,
    Warning,
    Error,
}

/// Something about an object or a file that a person should know: a [`Finding`] and where the
/// object comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// How bad.
    #[serde(with = "SeverityName")]
    pub(crate) severity: Severity,
    /// A stable code.
    pub(crate) code: Text,
    /// The object's kind; empty when a file has no readable object.
    pub(crate) kind: Short,
    /// The object's namespace.
    pub(crate) namespace: Short,
    /// The object's name.
    pub(crate) name: Short,
    /// The path of the field.
    pub(crate) field: Short,
    /// What is wrong and what to do.
    pub(crate) message: String,
    /// The file and the document in it, where the source is a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
}

impl Note {
    /// A finding about an object, with the place that gave the object.
    pub(crate) fn of(finding: &Finding, place: Option<String>) -> Self {
        let Finding { severity, code, kind, namespace, name, field, message } = finding;
        Self {
            severity: *severity,
            code: (*code).into(),
            kind: kind.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            field: field.clone(),
            message: message.clone(),
            place,
        }
    }

    /// `Kind namespace/name`, as far as it is known.
    pub(crate) fn object(&self) -> String {
        match (self.kind.as_str(), self.namespace.as_str()) {
            ("", _) => String::new(),
            (kind, "") => format!("{kind} {}", self.name),
            (kind, namespace) => format!("{kind} {namespace}/{}", self.name),
        }
    }
}
