//! What is looked up while something is made for a client: as long as all of it stays the same, so does
//! what was made.

use std::sync::Arc;

use super::{
    Client,
    visible::{VisibleHost, VisiblePort},
};
use crate::requests::backend::Backend;

/// Something that was looked up.
#[derive(Clone, Debug)]
pub(super) enum Read {
    /// A host that a route leads to.
    Host(Arc<VisibleHost>),
    /// A host that a route leads to, and the client does not reach.
    NoHost(String),
    /// A destination.
    Backend(Arc<Backend>),
    /// A subset that no rule has.
    NoSubset(VisiblePort, String),
}

impl Client {
    /// Does something, and tells what was looked up meanwhile.
    pub(super) fn noting<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Read>) {
        *self.reads.borrow_mut() = Some(Vec::new());
        let done = work();
        (done, self.reads.take().unwrap_or_default())
    }

    /// Notes what is looked up.
    pub(super) fn note(&self, read: impl FnOnce() -> Read) {
        if let Some(reads) = &mut *self.reads.borrow_mut() {
            reads.push(read());
        }
    }
}
