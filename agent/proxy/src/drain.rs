//! Stopping in good order.
//!
//! The holder of a [`DrainTrigger`] decides; a holder of a [`Drain`] ends what it has in good order when
//! it is asked to, and has until the deadline. There are two ways of it: to take on nothing new
//! ([`DrainTrigger::drain`]), or to go on doing so, as there is no one else yet
//! ([`DrainTrigger::wind_down`]). A trigger that is dropped asks for an end at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a client that has nothing under way is waited for. An end that crosses its next request
/// fails that one, while the answer to it can say that it is the last.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// An end that is asked for.
#[derive(Clone, Copy, Debug)]
struct End {
    by: Instant,
    /// Whether new work is taken on until then.
    takes_on: bool,
}

type Asked = watch::Receiver<Option<End>>;

/// Asks for an end.
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<Option<End>>);

/// Is asked for an end, by the first of its triggers.
#[derive(Clone, Debug)]
// Shared, since each connection has one.
pub struct Drain(Arc<[Asked; 2]>);

impl DrainTrigger {
    /// One that has asked for nothing.
    #[expect(clippy::new_without_default, reason = "a trigger is made on purpose")]
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// What both reach.
    pub(crate) fn and(&self, all: &Self) -> Drain {
        Drain(Arc::new([self.0.subscribe(), all.0.subscribe()]))
    }

    /// Asks everybody to stop taking on work now and to be done after `grace`.
    pub fn drain(&self, grace: Duration) {
        self.0.send_replace(Some(End { by: Instant::now() + grace, takes_on: false }));
    }

    /// Asks everybody to end what they have, and to be done after `grace`.
    pub fn wind_down(&self, grace: Duration) {
        self.0.send_replace(Some(End { by: Instant::now() + grace, takes_on: true }));
    }

    /// Waits until everybody is done.
    pub async fn done(&self) {
        self.0.closed().await;
    }
}

impl Drain {
    /// Whether an end is asked for.
    pub(crate) fn is_requested(&self) -> bool {
        let asks = |asked: &Asked| asked.has_changed().is_err() || asked.borrow().is_some();
        self.0.iter().any(asks)
    }

    /// Waits until an end is asked for: the deadline.
    pub(crate) async fn requested(&self) -> Instant {
        self.first(|_| true).await
    }

    /// Waits until nothing new is to be taken on: the deadline.
    pub(crate) async fn stopped(&self) -> Instant {
        self.first(|end| !end.takes_on).await
    }

    /// Waits until an end is asked for, and then as long as one waits for a client that has nothing
    /// under way.
    pub(crate) async fn last_request(self) {
        let by = self.requested().await;
        let now = Instant::now();
        // What ends at the deadline is reset.
        let wait = LAST_REQUEST.min(by.saturating_duration_since(now) / 2);
        sleep_until(now + wait).await;
    }

    async fn first(&self, is_it: fn(&End) -> bool) -> Instant {
        let [own, all] = &*self.0;
        tokio::select! {
            by = asked(own.clone(), is_it) => by,
            by = asked(all.clone(), is_it) => by,
        }
    }
}

async fn asked(mut asked: Asked, is_it: fn(&End) -> bool) -> Instant {
    let end = asked.wait_for(|end| end.as_ref().is_some_and(is_it)).await;
    end.ok().and_then(|end| *end).map_or_else(Instant::now, |end| end.by)
}
