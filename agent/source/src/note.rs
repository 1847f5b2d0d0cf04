//! Something about an object or a file that a person should know: a finding, and where it is.

use agent_model::{
    finding::{Finding, Severity},
    resource::Short,
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// What is found. Its kind is empty when a file has no readable object.
    pub finding: Finding,
    /// The file and the document in it, where the source is a directory.
    pub place: Option<String>,
}

impl Note {
    /// A finding about an object, with the place that gave the object.
    pub fn new(finding: &Finding, place: Option<String>) -> Self {
        Self { finding: finding.clone(), place }
    }

    /// Something that concerns no object that can be named.
    pub fn loose(severity: Severity, code: &'static str, message: String) -> Self {
        let none = Short::default;
        let (kind, namespace, name, field) = (none(), none(), none(), none());
        let finding = Finding { severity, code, kind, namespace, name, field, message };
        Self { finding, place: None }
    }

    /// The same at a place.
    #[must_use]
    pub fn at(self, place: String) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The same about a field.
    #[must_use]
    pub fn about(mut self, field: impl Into<Short>) -> Self {
        self.finding.field = field.into();
        self
    }

    /// True when the object is refused.
    pub fn is_error(&self) -> bool {
        self.finding.severity == Severity::Error
    }

    /// `Kind namespace/name`, as far as it is known.
    pub fn object(&self) -> String {
        let Finding { kind, namespace, name, .. } = &self.finding;
        match (kind.as_str(), namespace.as_str()) {
            ("", _) => String::new(),
            (kind, "") => format!("{kind} {name}"),
            (kind, namespace) => format!("{kind} {namespace}/{name}"),
        }
    }
}
