//! Limits on connections, wherever they stand.

use serde_json::json;

use super::{
    Rule,
    conditions::{implies, is, of},
};

/// What the connection's protocol decides does not go with deciding it.
pub(super) fn upgrade() -> Rule {
    implies(
        &is("h2UpgradePolicy", &["UPGRADE"]),
        &of("useClientProtocol", &json!({"enum": [false]})),
    )
}

/// The rules below a place. An expression about times needs a place without lists above it.
macro_rules! pool {
    ($place:literal, $time:expr, $or_zero:expr) => {
        vec![
            ($place, Filled(&["tcp", "http"])),
            (concat!($place, ".tcp.maxConnections"), AtLeast(0)),
            (concat!($place, ".tcp.connectTimeout"), $time),
            (concat!($place, ".tcp.idleTimeout"), $or_zero),
            (concat!($place, ".tcp.maxConnectionDuration"), $time),
            (concat!($place, ".tcp.tcpKeepalive.time"), $time),
            (concat!($place, ".tcp.tcpKeepalive.interval"), $time),
            (concat!($place, ".http"), $crate::crds::rules::pool::upgrade()),
            (
                concat!($place, ".http.h2UpgradePolicy"),
                Enum(&["", "DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]),
            ),
            (concat!($place, ".http.maxRequestsPerConnection"), AtLeast(0)),
            (concat!($place, ".http.maxRetries"), AtLeast(0)),
            (concat!($place, ".http.maxConcurrentStreams"), AtLeast(0)),
            (concat!($place, ".http.idleTimeout"), $time),
            (concat!($place, ".http.http1MaxPendingRequests"), AtLeast(0)),
            (concat!($place, ".http.http2MaxRequests"), AtLeast(0)),
            (concat!($place, ".http.http2KeepAlive"), Required(&["interval", "timeout"])),
            (concat!($place, ".http.http2KeepAlive.interval"), $time),
            (concat!($place, ".http.http2KeepAlive.timeout"), $time),
        ]
    };
}

pub(super) use pool;
