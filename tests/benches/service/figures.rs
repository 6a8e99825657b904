//! What was measured, as rows of a table.

use std::fmt;

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<[String; 4]>);

impl Figures {
    /// Adds a row: what, its value, the aim or `-`, and what belongs to it.
    pub(crate) fn add(&mut self, what: &str, value: impl Into<String>, aim: &str, note: impl Into<String>) {
        self.0.push([what.to_owned(), value.into(), aim.to_owned(), note.into()]);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | value | aim | beside it |\n| --- | --- | --- | --- |")?;
        self.0.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// So many per second.
pub(crate) fn per_second(count: usize, seconds: f64) -> String {
    format!("{:.0}/s", count as f64 / seconds)
}

/// The median and the 99th of a hundred, in milliseconds.
pub(crate) fn spread(mut millis: Vec<f64>) -> String {
    millis.sort_by(f64::total_cmp);
    let at =
        |percent: usize| millis.get((millis.len().max(1) - 1) * percent / 100).copied().unwrap_or(f64::NAN);
    format!("p50 {:.1} ms, p99 {:.1} ms", at(50), at(99))
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
