//! Dates and serial numbers of what is signed here.

use jiff::{SignedDuration, Timestamp};
use rcgen::SerialNumber;
use ring::rand::{SecureRandom as _, SystemRandom};

/// A certificate is dated back by this much, for peers whose clock is behind.
pub(crate) const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// 128 random bits.
pub(crate) fn serial() -> Option<SerialNumber> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(SerialNumber::from_slice(&bytes))
}

/// A moment as rcgen takes it. Certificates know no fractions of seconds.
pub(crate) fn moment<T>(at: Timestamp) -> T
where
    T: From<std::time::SystemTime>,
{
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    (std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).into()
}
