//! A question that is asked once for all who want to know.
//!
//! Who asks says which answer it has seen, and gets one to a question that was asked later: that of
//! a caller that asks already, or of a request of its own.

use std::sync::{Arc, Mutex};

use agent_base::lock::lock;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

use super::trouble::Trouble;

/// An answer.
pub(super) type Answer<T> = Result<T, Arc<Trouble>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Question<T: Clone> {
    latest: Mutex<Option<Asked<T>>>,
}

/// A request, on its way or answered.
#[derive(Clone, Debug)]
struct Asked<T: Clone> {
    at: Instant,
    answer: Shared<BoxFuture<'static, Answer<T>>>,
}

impl<T: Clone> Default for Question<T> {
    fn default() -> Self {
        Self { latest: Mutex::new(None) }
    }
}

impl<T: Clone + Send + Sync + 'static> Question<T> {
    /// An answer to a question asked after `seen`, any at all without it, and when it was asked.
    /// `ask` makes a new request, knowing when that is and what was answered before.
    pub(super) async fn after(
        &self,
        seen: Option<Instant>,
        ask: impl FnOnce(Instant, Option<T>) -> BoxFuture<'static, Answer<T>>,
    ) -> (Instant, Answer<T>) {
        let asked = {
            let mut latest = lock(&self.latest);
            let known = latest.as_ref().filter(|asked| seen.is_none_or(|seen| asked.at > seen));
            if let Some(asked) = known {
                asked.clone()
            } else {
                let before = latest.as_ref().and_then(|asked| asked.answer.peek()?.as_ref().ok());
                let at = Instant::now();
                let answer = ask(at, before.cloned()).shared();
                latest.insert(Asked { at, answer }).clone()
            }
        };
        (asked.at, asked.answer.await)
    }
}
