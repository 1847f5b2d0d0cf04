//! Times as flags take them: whole seconds.

use std::{num, time::Duration};

pub(super) fn at_least_one(text: &str) -> Result<Duration, num::ParseIntError> {
    text.parse().map(|seconds: num::NonZeroU32| Duration::from_secs(seconds.get().into()))
}

pub(super) fn seconds(text: &str) -> Result<Duration, num::ParseIntError> {
    text.parse().map(|seconds: u32| Duration::from_secs(seconds.into()))
}
