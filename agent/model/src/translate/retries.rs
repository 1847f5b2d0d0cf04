//! Retries, from Istio's words.

use std::collections::BTreeSet;

use crate::{
    requests::route::{Retries, RetryOn},
    resource::{duration::duration, virtual_service},
};

/// What a policy says; without one what is usual, and with no attempts nothing at all.
pub(super) fn retries(
    said: Option<&virtual_service::Retries>,
    usual: Option<Retries>,
) -> Option<Retries> {
    let Some(said) = said else { return usual };
    let virtual_service::Retries {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        retry_ignore_previous_hosts,
        backoff,
    } = said;
    let attempts = u32::try_from(*attempts).ok().filter(|attempts| *attempts > 0)?;
    let (mut on, mut statuses) = (BTreeSet::new(), BTreeSet::new());
    for word in retry_on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(status) => _ = statuses.insert(status),
            Err(_) => on.extend(retry_word(word)),
        }
    }
    if retry_on.trim().is_empty() {
        on = Retries::usual().on;
    }
    Some(Retries {
        attempts,
        on,
        statuses,
        per_try: per_try_timeout.as_deref().and_then(duration),
        backoff: backoff.as_deref().and_then(duration).unwrap_or(Retries::BACKOFF),
        elsewhere: retry_ignore_previous_hosts.unwrap_or(true),
        other_localities: retry_remote_localities.unwrap_or(false),
    })
}

/// What a word of `retryOn` means. Two words only announce what else has to be given, and here it
/// is or is not.
fn retry_word(word: &str) -> Option<RetryOn> {
    Some(match word {
        "5xx" => RetryOn::ServerError,
        "gateway-error" => RetryOn::GatewayError,
        "reset" => RetryOn::Reset,
        "reset-before-request" => RetryOn::ResetBeforeRequest,
        "connect-failure" => RetryOn::ConnectFailure,
        "envoy-ratelimited" => RetryOn::EnvoyRateLimited,
        "retriable-4xx" => RetryOn::ClientError,
        "refused-stream" => RetryOn::RefusedStream,
        "http3-post-connect-failure" => RetryOn::Http3PostConnectFailure,
        "cancelled" => RetryOn::GrpcCancelled,
        "deadline-exceeded" => RetryOn::GrpcDeadlineExceeded,
        "internal" => RetryOn::GrpcInternal,
        "resource-exhausted" => RetryOn::GrpcResourceExhausted,
        "unavailable" => RetryOn::GrpcUnavailable,
        _ => return None,
    })
}
