//! Whether what is waited for, tried again, spoilt on purpose and copied is valid.

use super::{
    Report,
    destination::check_destination,
    values::{
        Zero, at_most_one, check_duration, check_percent, check_range, check_share, check_status,
        one_or_nothing, set,
    },
};
use crate::{
    finding::code,
    resource::virtual_service::{Fault, HttpRoute, Percent, Retries},
};

/// What a retry may answer to, besides statuses.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// What a call may end with; a number does as well.
const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

pub(super) fn check(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    check_duration(rule.timeout.as_ref(), Zero::Refused, &format!("{path}.timeout"), report);
    if let Some(retries) = &rule.retries {
        check_retries(retries, &format!("{path}.retries"), report);
    }
    if let Some(fault) = &rule.fault {
        check_fault(fault, &format!("{path}.fault"), report);
    }
    check_mirrors(rule, path, report);
}

fn check_retries(retries: &Retries, path: &str, report: &mut Report<'_>) {
    let zero = Zero::Refused;
    let attempts = Some(i64::from(retries.attempts));
    check_range(attempts, (0, i64::MAX), &format!("{path}.attempts"), report);
    check_duration(
        retries.per_try_timeout.as_ref(),
        zero,
        &format!("{path}.perTryTimeout"),
        report,
    );
    check_duration(retries.backoff.as_ref(), zero, &format!("{path}.backoff"), report);
    let set_anyhow = set([
        ("perTryTimeout", retries.per_try_timeout.is_some()),
        ("retryOn", !retries.retry_on.is_empty()),
        ("retryRemoteLocalities", retries.retry_remote_localities.is_some()),
    ]);
    if retries.attempts == 0 && !set_anyhow.is_empty() {
        let message = format!(
            "no attempts are given, so nothing is tried again: give attempts, or remove {}",
            set_anyhow.join(" and ")
        );
        report.error(code::CONFLICT, format!("{path}.attempts"), message);
    }
    if retries.retry_on.is_empty() {
        return;
    }
    for word in retries.retry_on.split(',') {
        let is_status = word.parse().is_ok_and(is_known_status);
        if !is_status && !RETRY_ON.contains(&word) {
            let message = format!(
                "{word:?}: use a status or one of {}, with commas and no blanks between them",
                RETRY_ON.join(", ")
            );
            report.error(code::RANGE, format!("{path}.retryOn"), message);
        }
    }
}

/// Those that have a name.
fn is_known_status(status: u16) -> bool {
    matches!(
        status,
        100..=103
            | 200..=208
            | 226
            | 300..=305
            | 307..=308
            | 400..=418
            | 421..=426
            | 428..=429
            | 431
            | 451
            | 500..=508
            | 510..=511
    )
}

fn check_fault(fault: &Fault, path: &str, report: &mut Report<'_>) {
    let share = |percent: &Option<Percent>| percent.as_ref().and_then(|percent| percent.value);
    if fault.delay.is_none() && fault.abort.is_none() {
        report.error(code::REQUIRED, path, "the fault does nothing: give it delay or abort");
    }
    if let Some(delay) = &fault.delay {
        let path = format!("{path}.delay");
        let field = format!("{path}.fixedDelay");
        if delay.fixed_delay.is_none() && delay.exponential_delay.is_none() {
            let message = "no delay is given, so this does nothing: give it";
            report.warn(code::REQUIRED, field.clone(), message);
        }
        check_duration(delay.fixed_delay.as_ref(), Zero::Refused, &field, report);
        check_share(share(&delay.percentage), &format!("{path}.percentage"), report);
        if delay.exponential_delay.is_some() {
            let message = "exponential delays do not exist: use fixedDelay";
            report.error(code::CONFLICT, format!("{path}.exponentialDelay"), message);
        }
    }
    if let Some(abort) = &fault.abort {
        let path = format!("{path}.abort");
        let given = set([
            ("httpStatus", abort.http_status.is_some()),
            ("grpcStatus", abort.grpc_status.is_some()),
        ]);
        if abort.http2_error.is_none() {
            one_or_nothing(&given, "httpStatus and grpcStatus", &path, report);
        }
        let known = |status: &String| GRPC_STATUS.contains(&status.as_str());
        if abort.grpc_status.as_ref().is_some_and(|status| !known(status)) {
            let message = format!("use one of {}", GRPC_STATUS.join(", "));
            report.error(code::RANGE, format!("{path}.grpcStatus"), message);
        }
        let status = abort.http_status.map(i64::from);
        check_status(status, &format!("{path}.httpStatus"), report);
        check_share(share(&abort.percentage), &format!("{path}.percentage"), report);
        if abort.http2_error.is_some() {
            let message = "HTTP/2 errors cannot be made: use httpStatus";
            report.error(code::CONFLICT, format!("{path}.http2Error"), message);
        }
    }
}

fn check_mirrors(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let given = set([("mirror", rule.mirror.is_some()), ("mirrors", !rule.mirrors.is_empty())]);
    at_most_one(&given, path, report);
    if rule.mirror.is_some() {
        check_destination(rule.mirror.as_ref(), &format!("{path}.mirror"), report);
    }
    if let Some(percent) = rule.mirror_percent {
        let field = format!("{path}.mirrorPercent");
        check_range(Some(i64::from(percent)), (0, 100), &field, report);
        report.warn(code::DEPRECATED, field, "an old name: use mirrorPercentage");
    }
    let percent = rule.mirror_percentage.as_ref().and_then(|percent| percent.value);
    check_percent(percent, &format!("{path}.mirrorPercentage"), report);
    for (index, mirror) in rule.mirrors.iter().enumerate() {
        let path = format!("{path}.mirrors[{index}]");
        check_destination(mirror.destination.as_ref(), &format!("{path}.destination"), report);
        let percent = mirror.percentage.as_ref().and_then(|percent| percent.value);
        check_percent(percent, &format!("{path}.percentage"), report);
    }
}
