//! What rule numbers stand for: the kernel knows a rule by number, and its events name it by that.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use agent_base::lock::{read, write};
use agent_model::compile::Decision;

/// What rule numbers stand for. A handle for any task; the planner alone writes.
#[derive(Clone, Debug, Default)]
pub struct RuleNames(Arc<RwLock<HashMap<u32, Decision>>>);

impl RuleNames {
    /// The object, field and action behind a number, if this process gave it out.
    pub fn get(&self, rule: u32) -> Option<Decision> {
        read(&self.0).get(&rule).cloned()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut HashMap<u32, Decision>)) {
        change(&mut write(&self.0));
    }
}
