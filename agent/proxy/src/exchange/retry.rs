//! What is tried again. Pure.

use std::time::Duration;

use agent_model::requests::route::{Retries, RetryOn};

use super::failed::Failed;

/// A wait never grows beyond so many times the first.
const MOST_GROWTH: u32 = 10;

/// Whether a route names a failure among those that are tried again.
pub(super) fn names(retries: &Retries, failed: &Failed) -> bool {
    use RetryOn::{ConnectFailure, GatewayError, Reset, ServerError};
    let on = |some: &[RetryOn]| some.iter().any(|one| retries.on.contains(one));
    match failed {
        // Nothing was looked at, so that nothing is done twice.
        Failed::RefusedStream => on(&[RetryOn::RefusedStream, Reset, ServerError, GatewayError]),
        Failed::Dial(_) => on(&[ConnectFailure, Reset, ServerError, GatewayError]),
        // A failure to get an answer counts as the 5xx that the client would be told.
        Failed::Reset { .. } | Failed::TimedOut { one_try: true } => {
            on(&[Reset, ServerError, GatewayError])
        }
        // It was named when the answer was given up for it.
        Failed::Status { .. } => true,
        Failed::NoCluster
        | Failed::NoEndpoint
        | Failed::Overflow
        | Failed::Idle { .. }
        | Failed::NotInHttp2
        | Failed::Answer(_)
        | Failed::TimedOut { one_try: false }
        | Failed::Client(_)
        | Failed::Body(_)
        | Failed::Cut(_) => false,
    }
}

/// Whether a route names an answer among those that are tried again.
pub(super) fn names_status(retries: &Retries, status: u16) -> bool {
    let on = |one: RetryOn| retries.on.contains(&one);
    retries.statuses.contains(&status)
        || (on(RetryOn::ServerError) && matches!(status, 500..=599))
        || (on(RetryOn::GatewayError) && matches!(status, 502..=504))
        || (on(RetryOn::ClientError) && status == 409)
}

/// Whether a route names a call's status among those that are tried again.
pub(super) fn names_grpc(retries: &Retries, status: u8) -> bool {
    let word = match status {
        1 => RetryOn::GrpcCancelled,
        4 => RetryOn::GrpcDeadlineExceeded,
        8 => RetryOn::GrpcResourceExhausted,
        13 => RetryOn::GrpcInternal,
        14 => RetryOn::GrpcUnavailable,
        _ => return false,
    };
    retries.on.contains(&word)
}

/// The wait before a retry: at random below what doubles each time.
pub(super) fn wait(retries: &Retries, retry: u32) -> Duration {
    let growth = 2_u32.saturating_pow(retry).saturating_sub(1).clamp(1, MOST_GROWTH);
    (retries.backoff * growth).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(some: &[RetryOn], statuses: &[u16]) -> Retries {
        let (on, statuses) = (some.iter().copied().collect(), statuses.iter().copied().collect());
        Retries { on, statuses, ..Retries::usual() }
    }

    #[test]
    fn without_a_word_no_answer_and_nothing_that_was_sent_is_tried_again() {
        let usual = Retries::usual();
        for status in 200..600 {
            assert!(!names_status(&usual, status), "{status}");
        }
        assert!(!names(&usual, &Failed::Reset { reused: false }));
        assert!(!names(&usual, &Failed::TimedOut { one_try: true }));
    }

    #[test]
    fn each_word_names_its_own() {
        let names_of = |retries: &Retries| -> Vec<u16> {
            (100..600).filter(|status| names_status(retries, *status)).collect()
        };
        assert_eq!(names_of(&on(&[RetryOn::ServerError], &[])).len(), 100);
        assert_eq!(names_of(&on(&[RetryOn::GatewayError], &[])), [502, 503, 504]);
        assert_eq!(names_of(&on(&[RetryOn::ClientError], &[])), [409]);
        assert_eq!(names_of(&on(&[], &[418, 503])), [418, 503]);
        let reset = Failed::Reset { reused: true };
        for word in [RetryOn::Reset, RetryOn::ServerError, RetryOn::GatewayError] {
            assert!(names(&on(&[word], &[]), &reset), "{word:?}");
        }
        assert!(!names(&on(&[RetryOn::ConnectFailure], &[]), &reset));
        let late = Failed::TimedOut { one_try: false };
        assert!(!names(&on(&[RetryOn::ServerError], &[]), &late), "the whole time is over");
    }

    #[test]
    fn waits_grow_and_stay_below_their_bound() {
        let retries = Retries::usual();
        for retry in 1..40 {
            assert!(wait(&retries, retry) <= retries.backoff * MOST_GROWTH);
        }
    }
}
