//! What came of a suite, counted from the lines that it prints.

use std::fmt;

use sekisho_tests::skip::SKIPPED;

/// How many tests passed, failed and were skipped. As text it is the line at the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// A tally as the lines of a suite make it.
#[derive(Debug, Default)]
pub(crate) struct Count {
    tally: Tally,
    /// Tests that said that they were skipped, and that the next result counts as passed.
    said: u64,
}

impl Count {
    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`, or that of a test
    /// that says that it was skipped, and which libtest counts as passed. The latter may stand behind
    /// the start of another line.
    pub(crate) fn add(&mut self, line: &str) {
        if line.contains(SKIPPED) {
            self.said += 1;
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = counts.split([' ', ';', '.']).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.tally.passed += count.saturating_sub(self.said),
                "failed" => self.tally.failed += count,
                "ignored" => self.tally.skipped += count + std::mem::take(&mut self.said),
                _ => {}
            }
        }
    }

    /// A suite that ended in some other way than its tests tell has failed.
    pub(crate) fn end(mut self, is_success: bool) -> Tally {
        if !is_success && self.tally.failed == 0 {
            self.tally.failed = 1;
        }
        self.tally
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Tally {
        let mut count = Count::default();
        for line in lines {
            count.add(line);
        }
        count.end(true)
    }

    #[test]
    fn a_result_is_counted_and_other_lines_are_not() {
        let tally = of(&[
            "test 5 failed tests are counted ... ok",
            "test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out",
        ]);
        assert_eq!(tally, Tally { passed: 10, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_test_that_says_it_was_skipped_has_not_passed() {
        let told = format!("{SKIPPED}a_case: it needs a server");
        let behind = format!("test another_case ... {told}");
        let result = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured";
        let tally = of(&[&told, "test a_case ... ok", &behind, "ok", result]);
        assert_eq!(tally, Tally { passed: 1, failed: 0, skipped: 2 });
    }

    #[test]
    fn several_results_of_a_suite_add_up() {
        let told = format!("{SKIPPED}a_case: it needs a server");
        let first = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured";
        let second = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured";
        let tally = of(&[&told, first, second]);
        assert_eq!(tally, Tally { passed: 4, failed: 1, skipped: 2 });
    }

    #[test]
    fn a_suite_that_dies_has_failed() {
        assert_eq!(Count::default().end(false).failed, 1);
        assert_eq!(Count::default().end(true), Tally::default());
    }

    #[test]
    fn the_line_at_the_end_has_one_form() {
        let tally = Tally { passed: 3, failed: 0, skipped: 2 };
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 2 skipped");
    }
}
