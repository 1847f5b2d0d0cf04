//! Values that views and generations have in common: what is made from the same is one allocation.
//! A pool keeps nothing: a value that no view holds is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashbrown::HashMap;

/// Values by the address of what they are about, with what else they were made from. A value holds
/// what it is about, so while it lives no other thing is at that address.
#[derive(Debug)]
pub(super) struct Pool<W, T>(Mutex<Entries<W, T>>);

#[derive(Debug)]
struct Entries<W, T> {
    by_address: HashMap<usize, Vec<(W, Weak<T>)>>,
    count: usize,
    /// The count at which values that are gone are removed.
    limit: usize,
}

/// So many values are worth no look for those that are gone.
const FEW: usize = 256;

impl<W, T> Default for Pool<W, T> {
    fn default() -> Self {
        Self(Mutex::new(Entries { by_address: HashMap::new(), count: 0, limit: FEW }))
    }
}

impl<W: Clone, T> Pool<W, T> {
    /// The value about an address that passes a test, which is made without the lock.
    pub(super) fn find(&self, about: usize, is_it: impl Fn(&W, &T) -> bool) -> Option<Arc<T>> {
        let alive = |(with, value): &(W, Weak<T>)| Some((with.clone(), value.upgrade()?));
        let all: Vec<(W, Arc<T>)> = {
            let entries = self.lock();
            entries.by_address.get(&about).into_iter().flatten().filter_map(alive).collect()
        };
        all.into_iter().find(|(with, value)| is_it(with, value)).map(|(_, value)| value)
    }

    /// Adds a value.
    pub(super) fn put(&self, about: usize, with: W, value: &Arc<T>) {
        let mut entries = self.lock();
        entries.by_address.entry(about).or_default().push((with, Arc::downgrade(value)));
        entries.count += 1;
        if entries.count > entries.limit {
            entries.remove_gone();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<W, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W, T> Entries<W, T> {
    fn remove_gone(&mut self) {
        self.by_address.retain(|_, all| {
            all.retain(|(_, value)| value.strong_count() > 0);
            !all.is_empty()
        });
        self.count = self.by_address.values().map(Vec::len).sum();
        self.limit = FEW.max(self.count * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_what_it_was_made_from_for_as_long_as_it_is_held() {
        let pool = Pool::default();
        let held = Arc::new("a");
        pool.put(1, 'x', &held);
        assert_eq!(pool.find(1, |with, _| *with == 'x'), Some(Arc::clone(&held)));
        assert_eq!(pool.find(1, |with, _| *with == 'y'), None);
        assert_eq!(pool.find(2, |_, _| true), None);
        drop(held);
        assert_eq!(pool.find(1, |_, _| true), None);
    }

    #[test]
    fn values_that_are_gone_are_forgotten() {
        let pool = Pool::default();
        let held = Arc::new(0);
        pool.put(0, (), &held);
        for about in 0..10 * FEW {
            pool.put(about, (), &Arc::new(about));
        }
        let entries = pool.lock();
        assert!(entries.by_address.len() <= FEW + 1, "{}", entries.by_address.len());
        drop(entries);
        assert_eq!(pool.find(0, |(), _| true), Some(held));
    }
}
