//! Whether what is said about near and far endpoints is valid.

use std::collections::BTreeSet;

use super::Report;
use crate::{
    finding::code,
    resource::destination_rule::{Distribute, Failover, Locality, OutlierDetection, ZoneAware},
};

/// Labels whose order is given by the place itself.
const TOPOLOGY: [&str; 3] =
    ["topology.istio.io/subzone", "topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

pub(super) fn check(
    locality: &Locality,
    outliers: Option<&OutlierDetection>,
    path: &str,
    report: &mut Report<'_>,
) {
    let Locality { distribute, failover, failover_priority, enabled: _ } = locality;
    if !distribute.is_empty() && !failover.is_empty() {
        let message = "distribute and failover exclude each other: keep one";
        report.error(code::ONE_OF, path, message);
        return;
    }
    if !failover.is_empty() && failover_priority.iter().any(|one| TOPOLOGY.contains(&one.as_str()))
    {
        let message = "failover orders places already: remove region, zone and subzone here";
        report.error(code::CONFLICT, format!("{path}.failoverPriority"), message);
        return;
    }
    check_shares(distribute, &format!("{path}.distribute"), report);
    let moves = !failover.is_empty() || !failover_priority.is_empty();
    warn_without_outliers(moves, outliers, path, report);
    check_failover(failover, &format!("{path}.failover"), report);
}

pub(super) fn check_zones(
    zones: &ZoneAware,
    outliers: Option<&OutlierDetection>,
    path: &str,
    report: &mut Report<'_>,
) {
    let ZoneAware { enabled: _, failover, failover_priority, min_cluster_size } = zones;
    for (index, label) in failover_priority.iter().enumerate() {
        if TOPOLOGY.contains(&label.as_str()) {
            let message = format!("{label:?} is looked at anyhow: remove it");
            report.error(code::CONFLICT, format!("{path}.failoverPriority[{index}]"), message);
        }
    }
    if *min_cluster_size == Some(0) {
        let message = "0: use 1 or more";
        report.error(code::RANGE, format!("{path}.minClusterSize"), message);
    }
    let moves = !failover.is_empty() || !failover_priority.is_empty();
    warn_without_outliers(moves, outliers, path, report);
    check_failover(failover, &format!("{path}.failover"), report);
}

fn warn_without_outliers(
    moves: bool,
    outliers: Option<&OutlierDetection>,
    path: &str,
    report: &mut Report<'_>,
) {
    if moves && outliers.is_none() {
        let message = "without outlierDetection no endpoint counts as failed, so nothing fails \
                       over: give it";
        report.warn(code::FIELD_WITHOUT_EFFECT, path, message);
    }
}

fn check_failover(failover: &[Failover], path: &str, report: &mut Report<'_>) {
    for (index, Failover { from, to }) in failover.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if from == to {
            let message = format!("{from:?} fails over to itself: name another region");
            report.error(code::CONFLICT, path.clone(), message);
        }
        for (name, region) in [("from", from), ("to", to)] {
            if region.contains(['/', '*']) {
                let message = format!("{region:?}: give a whole region, without zone or wildcard");
                report.error(code::RANGE, format!("{path}.{name}"), message);
            }
        }
    }
}

fn check_shares(distribute: &[Distribute], path: &str, report: &mut Report<'_>) {
    for (index, one) in distribute.iter().enumerate() {
        let path = format!("{path}[{index}].to");
        let sum: u64 = one.to.values().map(|share| u64::from(*share)).sum();
        if one.to.values().any(|share| !(1..=100).contains(share)) || sum != 100 {
            let message = format!("the shares are 1 to 100 each and 100 together, not {sum}");
            report.error(code::RANGE, path.clone(), message);
        }
        check_places(one.to.keys().map(String::as_str), &path, report);
    }
    let from = distribute.iter().map(|one| one.from.as_str());
    check_places(from, path, report);
}

/// `region/zone/subzone`, or the beginning of one with `*` for the rest; none within another.
fn check_places<'a>(places: impl Iterator<Item = &'a str>, path: &str, report: &mut Report<'_>) {
    let mut seen: BTreeSet<Vec<&str>> = BTreeSet::new();
    for place in places {
        let parts: Vec<&str> = place.splitn(3, '/').collect();
        let wildcards = place.matches('*').count();
        if parts.contains(&"") || wildcards > 1 || (wildcards == 1 && !place.ends_with('*')) {
            let message = format!("{place:?}: use region/zone/subzone, with * only at the end");
            report.error(code::RANGE, path, message);
            continue;
        }
        let whole: Vec<&str> = parts.into_iter().filter(|part| *part != "*").collect();
        // A wildcard after the places that it covers is for the rest.
        let is_rest = place.ends_with('*');
        let is_within =
            |one: &Vec<&str>| whole.starts_with(one) || (one.starts_with(&whole) && !is_rest);
        if seen.iter().any(is_within) {
            let message = format!("{place:?} overlaps with another place: keep one");
            report.error(code::TWICE, path, message);
        }
        seen.insert(whole);
    }
}
