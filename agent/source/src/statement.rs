//! What a place says about objects: the words between those that read and the store.

use std::sync::Arc;

use agent_model::{
    finding::Finding,
    resource::{Object, ObjectKey, Refused, Short},
};

use crate::note::Note;

/// What a place says about one object.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The object.
    pub key: Arc<ObjectKey>,
    /// Where in the place, for people: `document 2 (line 14)`.
    pub(crate) spot: Short,
    /// Its form; `None` when it is broken, and then a finding says how.
    pub form: Option<Object>,
    /// What is left of it where it is broken and restricts.
    pub refused: Option<Arc<Refused>>,
    /// What is worth knowing about it.
    pub findings: Vec<Finding>,
    /// It may be another object, or none: nothing but its kind is known.
    pub(crate) is_guess: bool,
}

/// What a place says.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// Objects in the place's own order.
    pub claims: Vec<Claim>,
    /// What concerns no object that can be named.
    pub loose: Vec<Note>,
    /// Something in the place cannot be told: what it said before about objects that it does not
    /// name now still counts.
    pub(crate) partial: bool,
}
