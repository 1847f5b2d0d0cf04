//! Stopping in good order.
//!
//! The holder of the [`DrainTrigger`] decides; a holder of a [`Drain`] stops taking on new work
//! when it is asked to and has until the deadline to finish what it has. A trigger that is dropped
//! asks for an end at once.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// Asks for an end.
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<Option<Instant>>);

/// Is asked for an end.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Option<Instant>>);

/// A trigger and what it reaches.
pub fn drain() -> (DrainTrigger, Drain) {
    let (trigger, drain) = watch::channel(None);
    (DrainTrigger(trigger), Drain(drain))
}

impl DrainTrigger {
    /// Asks everybody to stop taking on work now and to be done after `grace`.
    pub fn drain(&self, grace: Duration) {
        self.0.send_replace(Some(Instant::now() + grace));
    }

    /// Waits until everybody is done.
    pub async fn done(&self) {
        self.0.closed().await;
    }
}

impl Drain {
    /// Whether an end is asked for.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.has_changed().is_err() || self.0.borrow().is_some()
    }

    /// Waits until an end is asked for: the deadline.
    pub(crate) async fn requested(&mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            Err(_) => Instant::now(),
        }
    }
}
