//! A draw by share.

/// The one that a random number falls to, when each has its share of all numbers. None only where there
/// is no share at all.
pub(crate) fn by_share<T>(all: &[T], share: impl Fn(&T) -> u64, draw: u64) -> Option<&T> {
    let total: u64 = all.iter().map(&share).sum();
    let mut left = draw.checked_rem(total)?;
    all.iter().find(|one| {
        let own = share(one);
        let is_it = left < own;
        left = left.saturating_sub(own);
        is_it
    })
}
