//! What only one of the two refuses, and why that stays so.

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The agent and `sekisho analyze`.
    Analyze,
    /// The API server.
    Server,
}

/// A disagreement that was looked at.
#[derive(Debug)]
pub struct Known {
    /// The beginning of the kind; empty for all.
    kind: &'static str,
    side: Side,
    /// What is said begins like this.
    what: &'static str,
    /// Why it stays.
    pub reason: &'static str,
}

impl Known {
    /// Whether this is that one.
    pub fn is(&self, kind: &str, side: &str, what: &str) -> bool {
        let own = match self.side {
            Side::Analyze => "analyze",
            Side::Server => "server",
        };
        own == side && kind.starts_with(self.kind) && what.starts_with(self.what)
    }
}

/// See the module.
pub const KNOWN: &[Known] = &[];
