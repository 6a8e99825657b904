//! `rhai`: a small script, confined by the kernel, for computing a value where Python would be too much.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Operator;
use crate::{
    log,
    operator::{Failure, Finished, Job, Step, block_on},
    script::{Language, Options, Policy, ScriptPool, locate},
};

/// Runs a Rhai script.
///
/// The value of the last expression is the task's result; `()` is no result. The script sees the same names as templates
/// do, as constants: `params`, `outputs`, `map`, `ds`, `run_id`, `var`, ... It can neither open files nor connections,
/// and is stopped at limits of steps, memory and time. `print` writes to the log, `throw "why"` fails the task.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["code"]}, {"required": ["file"]}]))]
pub(crate) struct Rhai {
    /// The script.
    code: Option<String>,
    /// A file with the script instead.
    file: Option<String>,
}

impl Operator for Rhai {
    const NAME: &'static str = "rhai";
    const MAIN: Option<&'static str> = Some("code");
    const FILES: &'static [&'static str] = &["file"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let (path, text) = match (self.code, self.file) {
            (Some(code), None) => (format!("<task {}>", job.ctx.task.task_id), code),
            (None, Some(file)) => {
                let full = job.bundle_file(&file)?;
                let text = std::fs::read_to_string(full)
                    .map_err(|source| Failure::File { path: file.clone(), source })?;
                (file, text)
            }
            (Some(_), Some(_)) | (None, None) => {
                let why = "give either `code` or `file`".to_owned();
                return Err(Failure::Invalid { operator: Self::NAME.to_owned(), why });
            }
        };
        Ok(Step::Done(match evaluate(job, &path, &text, job.renderer.names())? {
            Ok(value) => Finished::success(Some(value).filter(|value| !value.is_null())),
            Err(why) => Finished::failed(why),
        }))
    }
}

/// The value of a script; the inner error is a sentence about a script that has none.
pub(crate) fn evaluate(
    job: &Job<'_>,
    path: &str,
    text: &str,
    names: &Value,
) -> Result<Result<Value, String>, Failure> {
    let mut context = names.clone();
    if let Value::Object(context) = &mut context {
        // The script host is no place for secrets.
        context.remove("conn");
    }
    let program = match locate(job.ctx.policy.script_program.as_deref()) {
        Ok(program) => program,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let options = Options { policy: Policy::BestEffort, ..Options::new(program) };
    let language = Language { operators: Value::Array(Vec::new()), ..Language::default() };
    // The pool ends its child when it is dropped, which must happen while the runtime is there.
    let ran = block_on(async {
        let pool = ScriptPool::new(options, language);
        pool.run(job.ctx.tenant, path, text, &context).await
    })?;
    Ok(match ran {
        Ok(ran) => {
            ran.printed.iter().for_each(|line| log(line));
            Ok(ran.value)
        }
        Err(error) => Err(error.to_string()),
    })
}
