//! Counting what tests report.

/// Passed and failed tests, and the names of those that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Counts one thing that went well or not.
    pub(crate) fn count(&mut self, name: &str, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

/// Adds up the closing lines of Rust's test runner. One run of cargo prints several; a program that
/// ended badly without one (it crashed, was killed, did not compile) counts as one failure.
pub(crate) fn of_cargo_test(label: &str, printed: &str, succeeded: bool) -> Tally {
    let mut tally = Tally::default();
    for line in printed.lines() {
        if let Some((passed, failed)) = closing_line(line) {
            tally.passed += passed;
            tally.failed += failed;
        } else if let Some(name) = failed_test(line) {
            tally.failures.push(format!("{label}: {name}"));
        }
    }
    if !succeeded && tally.failed == 0 {
        tally.count(&format!("{label}: ended badly without a failed test"), false);
    }
    tally
}

/// `test result: FAILED. 3 passed; 1 failed; 0 ignored; ...`
fn closing_line(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
    };
    Some((count("passed")?, count("failed")?))
}

/// `test pool::tests::is_full ... FAILED`
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_RUNS: &str = "\
running 3 tests
test a ... ok
test b::c ... FAILED
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 4 tests
....
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn closing_lines_are_added_up() {
        let tally = of_cargo_test("dags", TWO_RUNS, false);
        assert_eq!(tally, Tally { passed: 6, failed: 1, failures: vec!["dags: b::c".to_owned()] });
    }

    #[test]
    fn a_crash_is_a_failure() {
        let tally = of_cargo_test("dags", "running 3 tests\ntest a ... ok\n", false);
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert!(tally.failures[0].contains("ended badly"));
    }

    #[test]
    fn a_run_without_tests_counts_nothing() {
        let printed = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(of_cargo_test("dags", printed, true), Tally::default());
    }

    #[test]
    fn other_lines_are_not_closing_lines() {
        for line in
            ["test result: ok", "test results: 3 passed", "", "test result: ok. many passed; 0 failed"]
        {
            assert_eq!(closing_line(line), None, "{line}");
        }
    }
}
