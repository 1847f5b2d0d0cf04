//! Values that several kinds have: times, ranges, choices.

use super::Report;
use crate::{
    finding::code,
    pattern::Pattern,
    resource::{duration::nanoseconds, virtual_service::StringMatch},
};

/// Whether a time may be nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

pub(super) fn check_duration(
    text: Option<&String>,
    zero: Zero,
    field: &str,
    report: &mut Report<'_>,
) {
    let Some(text) = text else { return };
    let fits = match nanoseconds(text) {
        Some(0) => zero == Zero::Allowed,
        Some(nanoseconds) => nanoseconds % 1_000_000 == 0,
        None => false,
    };
    if !fits {
        let message = format!("{text:?}: give whole milliseconds, at least 1ms, such as 1.5s");
        report.error(code::DURATION, field, message);
    }
}

pub(super) fn check_range(
    value: Option<i64>,
    (least, most): (i64, i64),
    field: &str,
    report: &mut Report<'_>,
) {
    if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
        let message = if most == i64::MAX {
            format!("{value}: use {least} or more")
        } else {
            format!("{value}: use {least} to {most}")
        };
        report.error(code::RANGE, field, message);
    }
}

pub(super) fn check_percent(value: Option<f64>, field: &str, report: &mut Report<'_>) {
    if let Some(value) = value.filter(|value| !(0.0..=100.0).contains(value)) {
        report.error(code::RANGE, field, format!("{value}: use 0 to 100"));
    }
}

/// As Istio's own proxies take it: nothing, or a ten-thousandth of a percent at least.
pub(super) fn check_share(value: Option<f64>, field: &str, report: &mut Report<'_>) {
    check_percent(value, field, report);
    if let Some(value) = value.filter(|value| *value > 0.0 && *value < 0.0001) {
        report.error(code::RANGE, field, format!("{value}: use 0, or 0.0001 at least"));
    }
}

/// The status of an answer.
pub(super) fn check_status(status: Option<i64>, field: &str, report: &mut Report<'_>) {
    if status == Some(600) {
        report.warn(code::RANGE, field, "no client knows status 600: use 200 to 599");
    } else {
        check_range(status, (200, 599), field, report);
    }
}

/// Names what is set of several fields that exclude each other.
pub(super) fn set<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect()
}

pub(super) fn exactly_one(found: &[&str], of: &str, field: &str, report: &mut Report<'_>) {
    if found.is_empty() {
        report.error(code::ONE_OF, field, format!("none of {of} is given: give one"));
    }
    at_most_one(found, field, report);
}

pub(super) fn at_most_one(found: &[&str], field: &str, report: &mut Report<'_>) {
    if found.len() > 1 {
        let message = format!("{} exclude each other: keep one", found.join(" and "));
        report.error(code::ONE_OF, field, message);
    }
}

/// The longest pattern.
const MAX_PATTERN: usize = 1024;

/// Patterns are RE2's. The library's differ only in what manifests do not use.
pub(super) fn check_pattern(text: &str, field: &str, report: &mut Report<'_>) {
    if text.len() > MAX_PATTERN {
        let message = format!("{} characters: a pattern has up to {MAX_PATTERN}", text.len());
        report.error(code::PATTERN, field, message);
        return;
    }
    if let Err(error) = Pattern::new(text) {
        // The library draws a picture of several lines; the last one says it.
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        report.error(code::PATTERN, field, format!("{text:?} is no regular expression: {why}"));
    }
}

/// The same, where none given means nothing and is not refused.
pub(super) fn one_or_nothing(found: &[&str], of: &str, field: &str, report: &mut Report<'_>) {
    if found.is_empty() {
        report.warn(code::ONE_OF, field, format!("none of {of} is given, so this does nothing"));
    }
    at_most_one(found, field, report);
}

pub(super) fn required(is_there: bool, field: &str, report: &mut Report<'_>) {
    if !is_there {
        report.error(code::REQUIRED, field, "the required value is missing: give it");
    }
}

/// A text that is not empty, and not too long.
pub(super) fn check_length(
    text: Option<&String>,
    most: usize,
    field: &str,
    report: &mut Report<'_>,
) {
    let Some(text) = text else { return };
    if text.is_empty() {
        required(false, field, report);
    } else if text.chars().count() > most {
        let message = format!("{} characters: use up to {most}", text.chars().count());
        report.error(code::COUNT, field, message);
    }
}

/// A match that says nothing is taken, and holds for anything.
pub(super) fn check_text(text: &StringMatch, field: &str, report: &mut Report<'_>) {
    let StringMatch { exact, prefix, regex } = text;
    let given =
        set([("exact", exact.is_some()), ("prefix", prefix.is_some()), ("regex", regex.is_some())]);
    one_or_nothing(&given, "exact, prefix and regex", field, report);
    if let Some(regex) = regex {
        check_pattern(regex, field, report);
    }
    if regex.as_deref() == Some("") {
        let message = "the pattern is empty: leave the match out for anything";
        report.error(code::PATTERN, field, message);
    }
}
