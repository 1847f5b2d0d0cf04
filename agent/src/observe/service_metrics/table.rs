//! Series by their labels, of which there are only so many. What finds no room is counted together.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    time::Duration,
};

use tokio::time::Instant;

/// A series without news for this long makes room, where there is none.
pub(super) const IDLE: Duration = Duration::from_hours(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    limit: usize,
    series: HashMap<K, Series<V>>,
    overflow: V,
    overflowed: u64,
}

#[derive(Debug)]
struct Series<V> {
    value: V,
    used: Instant,
}

impl<K: Eq + Hash, V: Default> Table<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, series: HashMap::new(), overflow: V::default(), overflowed: 0 }
    }

    /// The series of these labels, or the one of all that found no room.
    pub(super) fn of(&mut self, labels: K, now: Instant) -> &mut V {
        let is_full = self.series.len() >= self.limit;
        match self.series.entry(labels) {
            Entry::Occupied(found) => {
                let series = found.into_mut();
                series.used = now;
                &mut series.value
            }
            Entry::Vacant(_) if is_full => {
                self.overflowed += 1;
                &mut self.overflow
            }
            Entry::Vacant(place) => {
                &mut place.insert(Series { value: V::default(), used: now }).value
            }
        }
    }

    /// Drops what is not wanted any more and, where there is no room, what has been idle.
    pub(super) fn sweep(&mut self, now: Instant, is_wanted: impl Fn(&K) -> bool) {
        self.series.retain(|labels, _| is_wanted(labels));
        if self.series.len() >= self.limit {
            self.series.retain(|_, series| now - series.used < IDLE);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn series(&self) -> impl Iterator<Item = (&K, &V)> {
        self.series.iter().map(|(labels, series)| (labels, &series.value))
    }

    /// What found no room, and how often that was.
    pub(super) const fn overflow(&self) -> (&V, u64) {
        (&self.overflow, self.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_counted_together_until_idle_series_make_some() {
        let mut table = Table::<&str, u64>::new(2);
        for labels in ["a", "b", "c", "d", "a"] {
            *table.of(labels, Instant::now()) += 1;
        }
        assert_eq!((table.len(), table.overflow()), (2, (&2, 2)));
        tokio::time::advance(IDLE).await;
        *table.of("b", Instant::now()) += 1;
        table.sweep(Instant::now(), |_| true);
        *table.of("c", Instant::now()) += 1;
        let mut found: Vec<_> = table.series().map(|(labels, count)| (*labels, *count)).collect();
        found.sort_unstable();
        assert_eq!(found, [("b", 2), ("c", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn with_room_nothing_idle_goes() {
        let mut table = Table::<&str, u64>::new(3);
        *table.of("a", Instant::now()) += 1;
        *table.of("gone", Instant::now()) += 1;
        tokio::time::advance(IDLE * 2).await;
        table.sweep(Instant::now(), |labels| *labels != "gone");
        assert_eq!(table.series().collect::<Vec<_>>(), [(&"a", &1)]);
    }
}
