//! Whether the way to choose an endpoint is valid.

use std::collections::BTreeSet;

use super::{
    Report, locality,
    values::{Zero, at_most_one, check_duration, check_percent, one_or_nothing, required, set},
};
use crate::{
    finding::code,
    resource::destination_rule::{
        ConsistentHash, HashCookie, LoadBalancer, OutlierDetection, Warmup,
    },
};

/// The largest table that spreads keys.
const MAX_TABLE: u64 = 5_000_011;

pub(super) fn check(
    balancer: Option<&LoadBalancer>,
    outliers: Option<&OutlierDetection>,
    path: &str,
    report: &mut Report<'_>,
) {
    let Some(balancer) = balancer else { return };
    let given = set([
        ("simple", balancer.simple.is_some()),
        ("consistentHash", balancer.consistent_hash.is_some()),
        ("backendUtilization", balancer.backend_utilization.is_some()),
    ]);
    at_most_one(&given, path, report);
    if let Some(hash) = &balancer.consistent_hash {
        check_hash(hash, &format!("{path}.consistentHash"), report);
    }
    let nearness = set([
        ("localityLbSetting", balancer.locality_lb_setting.is_some()),
        ("zoneAwareLbSetting", balancer.zone_aware_lb_setting.is_some()),
    ]);
    at_most_one(&nearness, path, report);
    if let Some(setting) = &balancer.locality_lb_setting {
        locality::check(setting, outliers, &format!("{path}.localityLbSetting"), report);
    }
    if let Some(zones) = &balancer.zone_aware_lb_setting {
        locality::check_zones(zones, outliers, &format!("{path}.zoneAwareLbSetting"), report);
    }
    let field = format!("{path}.warmupDurationSecs");
    check_duration(balancer.warmup_duration_secs.as_ref(), Zero::Refused, &field, report);
    if let Some(warmup) = &balancer.warmup {
        check_warmup(warmup, &format!("{path}.warmup"), report);
    }
}

fn check_hash(hash: &ConsistentHash, path: &str, report: &mut Report<'_>) {
    let keys = set([
        ("httpHeaderName", hash.http_header_name.is_some()),
        ("httpCookie", hash.http_cookie.is_some()),
        ("useSourceIp", hash.use_source_ip.is_some()),
        ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
    ]);
    let of = "httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName";
    one_or_nothing(&keys, of, path, report);
    let old_size = hash.minimum_ring_size.is_some_and(|size| size != 0);
    let sizes = set([
        ("ringHash", hash.ring_hash.is_some()),
        ("maglev", hash.maglev.is_some()),
        ("minimumRingSize", old_size),
    ]);
    at_most_one(&sizes, path, report);
    if old_size {
        let message = "an old place: use ringHash.minimumRingSize";
        report.warn(code::DEPRECATED, format!("{path}.minimumRingSize"), message);
    }
    if let Some(cookie) = &hash.http_cookie {
        check_cookie(cookie, &format!("{path}.httpCookie"), report);
    }
    if let Some(maglev) = &hash.maglev {
        let size = maglev.table_size.unwrap_or_default();
        if size >= MAX_TABLE || !is_prime(size) {
            let message = format!("{size}: use a prime below {MAX_TABLE}");
            report.error(code::RANGE, format!("{path}.maglev.tableSize"), message);
        }
    }
}

fn check_cookie(cookie: &HashCookie, path: &str, report: &mut Report<'_>) {
    required(!cookie.name.is_empty(), &format!("{path}.name"), report);
    check_duration(cookie.ttl.as_ref(), Zero::Allowed, &format!("{path}.ttl"), report);
    let mut names = BTreeSet::new();
    for (index, attribute) in cookie.attributes.iter().enumerate() {
        let field = format!("{path}.attributes[{index}].name");
        if attribute.name.is_empty() {
            required(false, &field, report);
        } else if !names.insert(&attribute.name) {
            let message = format!("{:?} is there already: remove it", attribute.name);
            report.error(code::TWICE, field, message);
        }
    }
}

/// As the proxies see it, for which 1 is one.
fn is_prime(number: u64) -> bool {
    number > 0 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

fn check_warmup(warmup: &Warmup, path: &str, report: &mut Report<'_>) {
    let Warmup { duration, minimum_percent, aggression } = warmup;
    let field = format!("{path}.duration");
    required(duration.is_some(), &field, report);
    check_duration(duration.as_ref(), Zero::Refused, &field, report);
    check_percent(*minimum_percent, &format!("{path}.minimumPercent"), report);
    if let Some(aggression) = aggression.filter(|value| *value <= 0.0) {
        let message = format!("{aggression}: use more than 0");
        report.error(code::RANGE, format!("{path}.aggression"), message);
    }
}
