//! Two lists that are mostly the same, walked side by side.

/// Walks along a list beside one that is mostly the same, which saves most look-ups: reading in
/// order is many times faster than reading all over a large table.
pub(super) struct Aligned {
    next: usize,
    len: usize,
}

impl Aligned {
    /// How far ahead an equal entry is looked for: so many neighbours may change at once.
    const WINDOW: usize = 4;

    pub(super) fn new(len: usize) -> Self {
        Self { next: 0, len }
    }

    /// Where the list has an entry that equals the other list's next one, if it is about here.
    pub(super) fn find(&mut self, equals: impl Fn(usize) -> bool) -> Option<usize> {
        let window = self.next..self.len.min(self.next + Self::WINDOW);
        let found = window.into_iter().find(|at| equals(*at))?;
        self.next = found + 1;
        Some(found)
    }
}
