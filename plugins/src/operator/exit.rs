//! What a program's exit code means.

use std::io::Read as _;

use super::{Dirs, Outcome};
use crate::{context::AttemptContext, user};

/// The exit code with which a program asks to be skipped, unless the task sets `skip_on_exit_code`.
pub const SKIP_EXIT_CODE: i32 = 99;
/// The exit code with which a Python task says that a retry is pointless.
pub const GIVE_UP_EXIT_CODE: i32 = 98;

/// The longest reason that a program may leave, in bytes.
const REASON_BYTES_MAX: u64 = 1_000;

/// The outcome of a program that [`prepare`](super::prepare) planned; `code` is 128 + n for signal n.
///
/// A sentence that the program left in `$UPDRAFT_REASON` becomes the reason.
pub fn exited(ctx: &AttemptContext, dirs: &Dirs, code: i32) -> Outcome {
    if code == 0 {
        return Outcome::Success;
    }
    let said = reason(dirs);
    let given = ctx.task.args.get("skip_on_exit_code");
    let (operator, skip) = match user::exit_codes(&ctx.bundle_dir, &ctx.task.operator) {
        Some((operator, skip)) => (operator, skip_codes(Some(&skip))),
        None => (ctx.task.operator.as_str(), skip_codes(given)),
    };
    if skip.contains(&i64::from(code)) {
        return Outcome::Skipped {
            reason: said.unwrap_or_else(|| format!("exited with code {code}, which means skip")),
        };
    }
    let reason = said.unwrap_or_else(|| describe(code));
    if code == GIVE_UP_EXIT_CODE && operator == "python" {
        Outcome::FailedForGood { reason }
    } else {
        Outcome::Failed { reason }
    }
}

/// One code or a list of them; the operator's struct has checked the form.
fn skip_codes(given: Option<&serde_json::Value>) -> Vec<i64> {
    match given {
        None | Some(serde_json::Value::Null) => vec![i64::from(SKIP_EXIT_CODE)],
        Some(serde_json::Value::Array(codes)) => codes.iter().filter_map(serde_json::Value::as_i64).collect(),
        Some(code) => code.as_i64().into_iter().collect(),
    }
}

fn reason(dirs: &Dirs) -> Option<String> {
    // No file is the normal case, and a file that can't be read leaves us with the exit code.
    let file = std::fs::File::open(dirs.reason_file()).ok()?;
    let mut bytes = Vec::new();
    file.take(REASON_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn describe(code: i32) -> String {
    match code {
        126 => "exited with code 126: the command was found but may not be executed".to_owned(),
        127 => "exited with code 127: the command was not found".to_owned(),
        137 => "ended by signal 9 (KILL): out of memory, or ended from outside".to_owned(),
        143 => "ended by signal 15 (TERM)".to_owned(),
        129..=192 => format!("ended by signal {}", code - 128),
        _ => format!("exited with code {code}"),
    }
}
