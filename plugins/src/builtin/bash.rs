//! `bash`: a shell command.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Operator;
use crate::operator::{Exec, Failure, Job, Step};

/// Runs a command in Bash.
///
/// The command starts in the folder of the DAG's files, so `./load.sh` finds the script beside the DAG; that folder
/// is read-only, `$UPDRAFT_WORK` is the attempt's own, gone afterwards. Exit code 0 is success, 99 skips the task,
/// any other fails it. What the command writes to the file `$UPDRAFT_RESULT` as JSON is the task's result; a sentence
/// in `$UPDRAFT_REASON` is shown as the reason of a failure.
///
/// An expression inside of the command may only give letters, digits and `_ . : / @ = + , -`; pass anything else
/// through the `sh` filter, which quotes it: `grep {{ params.pattern | sh }} log`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bash {
    /// The command, one line or a whole script.
    pub(crate) command: String,
    /// Stop at the first command that fails, also inside of a pipe (`set -e -o pipefail`).
    #[serde(default = "yes")]
    pub(crate) strict: bool,
    /// The folder to run in instead, relative to the DAG's files.
    pub(crate) cwd: Option<String>,
    /// The exit code, or codes, that skip the task.
    #[serde(default)]
    #[expect(dead_code, reason = "read by `operator::exited`, after the command has replaced this process")]
    pub(crate) skip_on_exit_code: ExitCodes,
}

/// One exit code or several.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ExitCodes {
    /// One code.
    One(#[schemars(range(min = 1, max = 255))] i32),
    /// Several codes; an empty list switches skipping off.
    Several(Vec<i32>),
}

impl Default for ExitCodes {
    fn default() -> Self {
        Self::One(crate::operator::SKIP_EXIT_CODE)
    }
}

pub(crate) const fn yes() -> bool {
    true
}

impl Operator for Bash {
    const NAME: &'static str = "bash";
    const MAIN: Option<&'static str> = Some("command");
    const TEMPLATED: &'static [&'static str] = &["command", "cwd"];
    const CODE: &'static [&'static str] = &["command"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let mut args: Vec<String> = ["--noprofile", "--norc"].map(str::to_owned).into();
        if self.strict {
            args.extend(["-e", "-o", "pipefail"].map(str::to_owned));
        }
        args.extend(["-c".to_owned(), self.command]);
        let cwd: PathBuf = match &self.cwd {
            Some(path) => job.bundle_file(path)?,
            None => job.ctx.bundle_dir.clone(),
        };
        Ok(Step::Exec(Exec {
            program: "bash".to_owned(),
            args,
            env: job.environment()?,
            cwd: Some(cwd),
            files: vec![(job.dirs.private().join("keep"), Vec::new())],
        }))
    }
}
