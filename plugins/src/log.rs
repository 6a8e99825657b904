//! Log lines of in-process operators: stderr, which the supervisor streams to the task's log.

use std::io::Write as _;

/// Writes one line to the attempt's log.
pub(crate) fn log(line: &str) {
    // A closed stderr means that nobody reads any more; the outcome is told by other means.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
