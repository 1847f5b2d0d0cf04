//! A part of all suites: which suite is in which part depends on the suites alone, so that several
//! machines that run a part each run every suite once.

use std::{cmp::Reverse, str::FromStr};

use anyhow::{Context as _, ensure};

use super::suites::Suite;

/// About how many seconds suites take on two processors, of those that take long; see the table at the
/// end of a run. They decide how even the parts are and nothing else.
const SECONDS: [(&str, u64); 29] = [
    ("agent-model incremental", 15),
    ("agent-proxy (lib)", 15),
    ("sekisho-tests answers", 90),
    ("sekisho-tests canary", 50),
    ("sekisho-tests churn", 50),
    ("sekisho-tests clsact", 110),
    ("sekisho-tests cluster_source", 90),
    ("sekisho-tests closed_by_default", 40),
    ("sekisho-tests cni", 30),
    ("sekisho-tests crds", 30),
    ("sekisho-tests crds_agree", 60),
    ("sekisho-tests generations", 50),
    ("sekisho-tests held", 15),
    ("sekisho-tests leak_matrix", 90),
    ("sekisho-tests lifecycle", 90),
    ("sekisho-tests names", 100),
    ("sekisho-tests neighbours", 50),
    ("sekisho-tests object_status", 200),
    ("sekisho-tests runtime", 20),
    ("sekisho-tests s0_cases", 110),
    ("sekisho-tests s2_cases", 30),
    ("sekisho-tests s4_cases", 30),
    ("sekisho-tests app_mesh_requests", 60),
    ("sekisho-tests s4_membership", 30),
    ("sekisho-tests selftest", 40),
    ("sekisho-tests server_faults", 220),
    ("sekisho-tests server_history", 110),
    ("sekisho-tests sl_invariants", 120),
    ("sekisho-tests two_sources", 25),
];
/// Any other suite.
const SHORT: u64 = 3;

/// One part of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 0.
    part: usize,
    parts: usize,
}

impl FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (part, parts) = text.split_once('/').context("a part is given as 1/3")?;
        let (part, parts): (usize, usize) = (part.parse()?, parts.parse()?);
        ensure!((1..=parts).contains(&part), "there is no part {part} of {parts}");
        Ok(Self { part: part - 1, parts })
    }
}

impl Shard {
    /// The suites of this part.
    pub(crate) fn of(self, suites: Vec<Suite>) -> Vec<Suite> {
        let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
        let parts = split(&names, self.parts);
        let own = suites.into_iter().zip(parts).filter(|(_, part)| *part == self.part);
        own.map(|(suite, _)| suite).collect()
    }
}

/// For each suite its part: the longest first, each to the part that has the least to do yet.
fn split(names: &[&str], parts: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|&suite| (Reverse(seconds(names[suite])), names[suite]));
    let (mut load, mut place) = (vec![0; parts], vec![0; names.len()]);
    for suite in order {
        let least = (0..parts).min_by_key(|&part| load[part]).unwrap_or(0);
        load[least] += seconds(names[suite]);
        place[suite] = least;
    }
    place
}

fn seconds(name: &str) -> u64 {
    SECONDS.iter().find(|(suite, _)| *suite == name).map_or(SHORT, |(_, seconds)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites() -> Vec<Suite> {
        let long = SECONDS.iter().map(|(name, _)| (*name).to_owned());
        let short = (0..20).map(|number| format!("short {number}"));
        long.chain(short).map(Suite::named).collect()
    }

    fn names(suites: Vec<Suite>) -> Vec<String> {
        suites.into_iter().map(|suite| suite.name).collect()
    }

    #[test]
    fn all_parts_together_run_every_suite_once() {
        for parts in 1..=SECONDS.len() + 25 {
            let mut run: Vec<String> =
                (0..parts).flat_map(|part| names(Shard { part, parts }.of(suites()))).collect();
            let mut all = names(suites());
            run.sort();
            all.sort();
            assert_eq!(run, all, "of {parts} parts");
        }
    }

    #[test]
    fn the_order_in_which_suites_are_found_decides_nothing() {
        let shard = Shard { part: 1, parts: 3 };
        let mut found = suites();
        found.reverse();
        let (mut one, mut other) = (names(shard.of(suites())), names(shard.of(found)));
        one.sort();
        other.sort();
        assert_eq!(one, other);
    }

    #[test]
    fn no_part_is_much_longer_than_another() {
        let names = names(suites());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut load = [0; 3];
        for (name, part) in names.iter().zip(split(&names, 3)) {
            load[part] += seconds(name);
        }
        let (least, most) = (load.iter().min(), load.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most * 4 <= least * 5), "{load:?}");
    }

    #[test]
    fn a_part_that_does_not_exist_is_refused() {
        assert_eq!("2/3".parse::<Shard>().ok(), Some(Shard { part: 1, parts: 3 }));
        for text in ["0/3", "4/3", "1/0", "2", "a/b"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
