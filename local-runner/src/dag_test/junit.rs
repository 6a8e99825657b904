//! The report as JUnit XML, for CI: a suite for each file, a case for each test.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Report, Tested, Verdict, text_of};

/// The XML.
pub fn junit(report: &Report) -> Result<String, String> {
    let mut xml = quick_junit::Report::new("updraft test");
    xml.set_time(report.elapsed);
    let mut files: BTreeMap<&str, Vec<&Tested>> = BTreeMap::new();
    for test in &report.tests {
        files.entry(&test.file).or_default().push(test);
    }
    for (file, tests) in files {
        let mut suite = TestSuite::new(file);
        for test in tests {
            let mut case = TestCase::new(test.name.clone(), status(test));
            case.set_classname(file).set_time(test.took);
            suite.add_test_case(case);
        }
        xml.add_test_suite(suite);
    }
    xml.to_string().map_err(|error| error.to_string())
}

fn status(test: &Tested) -> TestCaseStatus {
    let (kind, message) = match &test.verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Broken(why) => (NonSuccessKind::Error, why.clone()),
        Verdict::Failed { differences, .. } => {
            let names: Vec<&str> = differences.iter().map(|difference| difference.what.as_str()).collect();
            (NonSuccessKind::Failure, names.join(", "))
        }
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message).set_description(text_of(test, false));
    status
}
