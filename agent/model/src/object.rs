//! What every object has: a kind, a name and metadata.

mod kind;
mod metadata;

use std::fmt;

pub use kind::Kind;
pub use metadata::{Described, Metadata, Pairs};

/// What tells one object from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for cluster scope.
    pub namespace: Short,
    /// The name.
    pub name: Short,
}

/// A name or a path. Those of up to 24 bytes, as most are, take no memory beside it: a large cluster
/// has hundreds of thousands.
pub type Short = compact_str::CompactString;

impl ObjectKey {
    /// The key of an object by this name; its namespace is empty for cluster scope.
    pub fn new(kind: Kind, namespace: impl Into<Short>, name: impl Into<Short>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object with this metadata.
    pub fn of(kind: Kind, metadata: &(impl Described + ?Sized)) -> Self {
        Self::new(kind, metadata.namespace(), metadata.name())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match namespace.as_str() {
            "" => write!(f, "{} {name}", kind.shown()),
            _ => write!(f, "{} {namespace}/{name}", kind.shown()),
        }
    }
}
