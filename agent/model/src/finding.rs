//! What a person should know about an object.

pub mod code;

use std::fmt;

use crate::object::{ObjectKey, Short};

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Honoured in part, or likely not what was meant.
    Warning,
    /// The object is refused; its last good form stays.
    Error,
}

/// Something about one field of one object that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A stable code.
    pub code: &'static str,
    /// The object's kind.
    pub kind: Short,
    /// The object's namespace; empty for cluster scope.
    pub namespace: Short,
    /// The object's name.
    pub name: Short,
    /// The path of the field.
    pub field: Short,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Finding {
    /// A finding about a field of an object.
    pub fn new(
        severity: Severity,
        code: &'static str,
        key: &ObjectKey,
        field: impl Into<Short>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            kind: key.kind.shown().into(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Severity {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, code, kind, namespace, name, field, message } = self;
        let severity = severity.name();
        let slash = if namespace.is_empty() { "" } else { "/" };
        write!(f, "{severity} {code} {kind} {namespace}{slash}{name} {field}: {message}")
    }
}
