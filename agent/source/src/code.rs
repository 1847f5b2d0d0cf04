//! Codes of notes about where objects come from.

/// Two places name one object.
pub(crate) const TWICE: &str = "SK0001";
/// A place cannot be read.
pub(crate) const UNREADABLE: &str = "SK0002";
/// Changes of a place are not told by the kernel.
pub(crate) const UNWATCHED: &str = "SK0003";
/// A kind of a cluster cannot be listed.
pub const LEFT_OUT: &str = "SK0004";
/// Conditions and Events cannot be written.
pub const UNWRITTEN: &str = "SK0005";

/// Every code with its meaning.
pub const ALL: &[(&str, &str)] = &[
    (TWICE, "Two places name one object."),
    (UNREADABLE, "A place cannot be read."),
    (UNWATCHED, "Changes of a directory are not told by the kernel."),
    (LEFT_OUT, "A kind of a cluster cannot be listed."),
    (UNWRITTEN, "Conditions and Events cannot be written."),
];
