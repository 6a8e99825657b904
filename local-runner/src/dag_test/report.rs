//! How tests ended: a line for each that failed and what differs, for people; one object for programs.

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::{Difference, Report, Tested, Verdict};
use crate::terminal::{Tone, count, duration, paint};

/// More lines than this of one difference aren't shown.
const DIFF_LINES: usize = 60;

/// A test, with everything that differs. Passed ones are a single line.
pub fn text_of(test: &Tested, colour: bool) -> String {
    let took = paint(&duration(test.took), Tone::Dim, colour);
    let place = paint(&format!("{}:{}", test.file, test.line), Tone::Dim, colour);
    match &test.verdict {
        Verdict::Passed => {
            format!("{} {}  {place}  {took}\n", paint("ok    ", Tone::Good, colour), test.name)
        }
        Verdict::Broken(why) => {
            let bad = paint("BROKEN", Tone::Bad, colour);
            format!("{bad} {}  {place}\n       {why}\n", paint(&test.name, Tone::Strong, colour))
        }
        Verdict::Failed { differences, story } => {
            let bad = paint("FAILED", Tone::Bad, colour);
            let mut text = format!("{bad} {}  {took}\n", paint(&test.name, Tone::Strong, colour));
            for difference in differences {
                let (line, column) = difference.place;
                let place = paint(&format!("{}:{line}:{column}", test.file), Tone::Dim, colour);
                text += &format!("\n  {}  {place}\n", paint(&difference.what, Tone::Strong, colour));
                text += &diff(difference, colour);
                for line in difference.why.iter().flat_map(|why| why.lines()) {
                    text += &format!("      {}\n", paint(line, Tone::Dim, colour));
                }
            }
            text += &format!("\n  {}\n", paint("what happened:", Tone::Dim, colour));
            for line in story {
                text += &format!("      {}\n", paint(line, Tone::Dim, colour));
            }
            text.push('\n');
            text
        }
    }
}

/// What was expected with `-`, what came with `+`, what is the same without either.
fn diff(difference: &Difference, colour: bool) -> String {
    let diff = TextDiff::from_lines(&difference.expected, &difference.seen);
    let mut text = String::new();
    let mut shown = 0;
    for group in diff.grouped_ops(3) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            shown += 1;
            if shown > DIFF_LINES {
                continue;
            }
            let line = change.value().trim_end_matches('\n');
            text += &match change.tag() {
                ChangeTag::Delete => format!("    {}\n", paint(&format!("- {line}"), Tone::Bad, colour)),
                ChangeTag::Insert => format!("    {}\n", paint(&format!("+ {line}"), Tone::Good, colour)),
                ChangeTag::Equal => format!("      {line}\n"),
            };
        }
    }
    if shown > DIFF_LINES {
        text += &format!("      and {} more\n", count(shown - DIFF_LINES, "line"));
    }
    text
}

/// The last line.
pub fn text(report: &Report, colour: bool) -> String {
    let (all, passed) = (report.tests.len(), report.passed());
    let mut text = String::new();
    for file in &report.written {
        text += &format!("wrote {file}\n");
    }
    let tone = if report.succeeded() { Tone::Good } else { Tone::Bad };
    let counted = format!("{passed} passed, {} failed", all - passed);
    text += &format!("{} in {}\n", paint(&counted, tone, colour), duration(report.elapsed));
    text
}

#[derive(Serialize)]
struct Whole<'a> {
    passed: usize,
    failed: usize,
    seconds: f64,
    tests: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    file: &'a str,
    line: usize,
    name: &'a str,
    verdict: &'static str,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Differs<'a>>,
}

#[derive(Serialize)]
struct Differs<'a> {
    line: usize,
    column: usize,
    what: &'a str,
    expected: &'a str,
    seen: &'a str,
    why: Option<&'a str>,
}

/// All tests as one JSON object. Ends with a line feed.
pub fn json(report: &Report) -> String {
    let tests = report.tests.iter().map(|test| {
        let (verdict, reason, differences) = match &test.verdict {
            Verdict::Passed => ("passed", None, Vec::new()),
            Verdict::Broken(why) => ("broken", Some(why.as_str()), Vec::new()),
            Verdict::Failed { differences, .. } => {
                ("failed", None, differences.iter().map(differs).collect())
            }
        };
        let seconds = test.took.as_secs_f64();
        One { file: &test.file, line: test.line, name: &test.name, verdict, seconds, reason, differences }
    });
    let whole = Whole {
        passed: report.passed(),
        failed: report.tests.len() - report.passed(),
        seconds: report.elapsed.as_secs_f64(),
        tests: tests.collect(),
    };
    let mut text = serde_json::to_string_pretty(&whole).expect("invariant: texts and numbers are JSON");
    text.push('\n');
    text
}

fn differs(difference: &Difference) -> Differs<'_> {
    Differs {
        line: difference.place.0,
        column: difference.place.1,
        what: &difference.what,
        expected: &difference.expected,
        seen: &difference.seen,
        why: difference.why.as_deref(),
    }
}
