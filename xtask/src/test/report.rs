//! What is printed at the end: a line a suite, and the sum.

use std::{cmp::Reverse, fmt::Write as _, time::Duration};

use super::tally::Tally;

/// A suite that has run.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) suite: String,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
}

/// A line for each suite, the slowest first; those of which no test ran are left out.
pub(crate) fn table(rows: &mut [Row]) -> String {
    rows.sort_by_key(|row| (Reverse(row.took), row.suite.clone()));
    let mut text = "\n seconds  passed  failed  skipped  suite\n".to_owned();
    for Row { suite, tally, took } in rows.iter().filter(|row| row.tally != Tally::default()) {
        let Tally { passed, failed, skipped } = tally;
        let seconds = took.as_secs_f64();
        // Writing to a String never fails.
        let _ = writeln!(text, "{seconds:8.1} {passed:7} {failed:7} {skipped:8}  {suite}");
    }
    text
}

/// All of them together.
pub(crate) fn sum(rows: &[Row]) -> Tally {
    let mut sum = Tally::default();
    for row in rows {
        sum += row.tally;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_suite_comes_first_and_empty_ones_are_left_out() {
        let row = |suite: &str, passed, seconds| Row {
            suite: suite.to_owned(),
            tally: Tally { passed, failed: 0, skipped: 1 },
            took: Duration::from_secs(seconds),
        };
        let mut rows = [row("quick", 2, 1), row("slow", 1, 30), row("none", 0, 3)];
        rows[2].tally = Tally::default();
        let table = table(&mut rows);
        let suites: Vec<_> = table.lines().filter_map(|l| l.split_whitespace().last()).collect();
        assert_eq!(suites, ["suite", "slow", "quick"]);
        assert_eq!(sum(&rows), Tally { passed: 3, failed: 0, skipped: 2 });
    }
}
