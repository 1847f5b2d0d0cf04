//! Which of a pod's requests have a line in the access log, by the annotation `sekisho.dev/access-log`.

use std::str::FromStr;

use thiserror::Error;

/// A share of everything.
pub const ALL: u32 = 1_000_000;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// All.
    On,
    /// Those that went wrong.
    Errors,
    /// So many in [`ALL`], by chance.
    Sampled(u32),
}

/// Why a value was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("give off, on, errors or sampled=PERCENT, with a PERCENT from 0.0001 to 100")]
pub struct AccessLogError;

impl FromStr for AccessLog {
    type Err = AccessLogError;

    fn from_str(text: &str) -> Result<Self, AccessLogError> {
        match text.trim() {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            "errors" => Ok(Self::Errors),
            other => {
                let percent = other.strip_prefix("sampled=").ok_or(AccessLogError)?;
                let share = share(percent).filter(|share| *share > 0);
                share.map(Self::Sampled).ok_or(AccessLogError)
            }
        }
    }
}

/// A percentage as a part of [`ALL`], exactly: digits, and at most four more behind a point.
pub fn share(percent: &str) -> Option<u32> {
    let (whole, rest) = percent.split_once('.').unwrap_or((percent, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_number(whole) || !is_number(rest) || rest.len() > 4 || whole.len() > 3 {
        return None;
    }
    let share = format!("{whole}{rest:0<4}").parse().ok()?;
    (share <= ALL).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_read_exactly_or_not_at_all() {
        for (text, wanted) in [
            ("sampled=100", Some(AccessLog::Sampled(ALL))),
            ("sampled=0.0001", Some(AccessLog::Sampled(1))),
            ("sampled=2.5", Some(AccessLog::Sampled(25_000))),
            (" on ", Some(AccessLog::On)),
            ("errors", Some(AccessLog::Errors)),
            ("off", Some(AccessLog::Off)),
            ("sampled=0", None),
            ("sampled=100.0001", None),
            ("sampled=-1", None),
            ("sampled=1e1", None),
            ("sampled=+5", None),
            ("sampled=5%", None),
            ("sampled=.5", None),
            ("sampled=5.", None),
            ("sampled=", None),
            ("sampled", None),
            ("true", None),
            ("On", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), wanted, "{text:?}");
        }
    }
}
