//! Tests that are skipped, and say so: libtest knows no such end of a test and counts it as passed, and
//! `cargo xtask test` does not.

use std::{
    io::{self, Write as _},
    thread,
};

/// Set by `cargo xtask test --long`.
const LONG: &str = "SEKISHO_LONG";

/// How the line of a test begins that was skipped.
pub const SKIPPED: &str = "test skipped: ";

/// Says that the calling test is skipped.
pub fn say(reason: &str) {
    let thread = thread::current();
    let line = format!("{SKIPPED}{}: {reason}\n", thread.name().unwrap_or("a test"));
    // What `println!` prints of a test that passes is not shown. A line that cannot be written is one
    // that has no reader.
    let _ = io::stdout().write_all(line.as_bytes());
}

/// Whether a case is left out that only a long run has; that is said. Others show in part what it shows.
pub fn is_for_long_runs() -> bool {
    let left_out = std::env::var_os(LONG).is_none_or(|value| value.is_empty());
    if left_out {
        say("run it by `cargo xtask test --long`");
    }
    left_out
}
