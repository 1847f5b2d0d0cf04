//! The two clocks at one moment: what is kept goes by the one, what is shown and saved by the other.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
}

impl Clock {
    pub(super) fn wall_at(self, at: Instant) -> Timestamp {
        let ahead = SignedDuration::try_from(at.saturating_duration_since(self.now));
        let behind = SignedDuration::try_from(self.now.saturating_duration_since(at));
        let offset = ahead.unwrap_or_default() - behind.unwrap_or_default();
        self.wall.saturating_add(offset).unwrap_or(self.wall)
    }

    /// The past counts as now.
    pub(super) fn at(self, wall: Timestamp) -> Instant {
        let ahead = Duration::try_from(wall.duration_since(self.wall)).unwrap_or_default();
        self.now + ahead
    }
}
