//! Whether limits on connections are valid.

use super::{
    Report,
    values::{Zero, check_duration, check_range, required},
};
use crate::{
    finding::code,
    resource::sidecar::{ConnectionPool, HttpPool, TcpPool},
};

const UPGRADES: [&str; 3] = ["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"];

pub(super) fn check(pool: Option<&ConnectionPool>, path: &str, report: &mut Report<'_>) {
    let Some(pool) = pool else { return };
    if pool.tcp.is_none() && pool.http.is_none() {
        report.error(code::REQUIRED, path, "the pool has no limit: give it tcp or http");
    }
    if let Some(tcp) = &pool.tcp {
        check_tcp(tcp, &format!("{path}.tcp"), report);
    }
    if let Some(http) = &pool.http {
        check_http(http, &format!("{path}.http"), report);
    }
}

fn count(value: i32, field: &str, report: &mut Report<'_>) {
    check_range(Some(i64::from(value)), (0, i64::MAX), field, report);
}

fn check_tcp(tcp: &TcpPool, path: &str, report: &mut Report<'_>) {
    count(tcp.max_connections, &format!("{path}.maxConnections"), report);
    let connect = tcp.connect_timeout.as_ref();
    check_duration(connect, Zero::Refused, &format!("{path}.connectTimeout"), report);
    let idle = tcp.idle_timeout.as_ref();
    check_duration(idle, Zero::Allowed, &format!("{path}.idleTimeout"), report);
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let path = format!("{path}.tcpKeepalive");
        for (name, time) in [("time", &keepalive.time), ("interval", &keepalive.interval)] {
            check_duration(time.as_ref(), Zero::Refused, &format!("{path}.{name}"), report);
        }
    }
    let most = tcp.max_connection_duration.as_ref();
    check_duration(most, Zero::Refused, &format!("{path}.maxConnectionDuration"), report);
}

fn check_http(http: &HttpPool, path: &str, report: &mut Report<'_>) {
    for (name, value) in [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ] {
        count(value, &format!("{path}.{name}"), report);
    }
    let idle = http.idle_timeout.as_ref();
    check_duration(idle, Zero::Refused, &format!("{path}.idleTimeout"), report);
    let upgrade = http.h2_upgrade_policy.as_str();
    let field = format!("{path}.h2UpgradePolicy");
    if !upgrade.is_empty() && !UPGRADES.contains(&upgrade) {
        let message = format!("found {upgrade:?}, expected one of {}", UPGRADES.join(", "));
        report.error(code::RANGE, field, message);
    } else if upgrade == "UPGRADE" && http.use_client_protocol {
        let message = "does not go with useClientProtocol, which leaves the protocol to the \
                       client: keep one";
        report.error(code::CONFLICT, field, message);
    }
    if let Some(pings) = &http.http2_keep_alive {
        let path = format!("{path}.http2KeepAlive");
        for (name, time) in [("interval", &pings.interval), ("timeout", &pings.timeout)] {
            let field = format!("{path}.{name}");
            required(time.is_some(), &field, report);
            check_duration(time.as_ref(), Zero::Refused, &field, report);
        }
    }
}
