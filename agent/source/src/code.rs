//! Codes of notes about where objects come from.

use agent_model::finding::{
    Severity::{Error, Info, Warning},
    code::Code,
};

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
/// Something in a directory is not read.
pub(crate) const SKIPPED: &str = "SK0006";

/// Every code.
pub const ALL: &[Code] = &[
    Code { name: TWICE, meaning: "Two places name one object.", severities: &[Error] },
    Code { name: UNREADABLE, meaning: "A place cannot be read.", severities: &[Error] },
    Code {
        name: UNWATCHED,
        meaning: "Changes of a directory are not told by the kernel.",
        severities: &[Warning],
    },
    Code {
        name: LEFT_OUT,
        meaning: "A kind of a cluster cannot be listed.",
        severities: &[Warning],
    },
    Code {
        name: UNWRITTEN,
        meaning: "Conditions and Events cannot be written.",
        severities: &[Warning],
    },
    Code {
        name: SKIPPED,
        meaning: "Something in a directory of manifests is not read.",
        severities: &[Warning, Info],
    },
];
