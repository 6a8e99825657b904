//! Carries out an operator that a user brought, inside of an attempt.

use dags::model::Runner;
use serde_json::{Map, Value, json};

use super::{Description, FOLDER, Way, program};
use crate::{
    builtin::{self, Builtin, rhai},
    operator::{Failure, Finished, Job, Step, inside, render_args},
};

/// Runs the plugin of the task's operator, from the bundle; an operator without one isn't known.
pub(crate) fn step(job: &Job<'_>) -> Result<Step, Failure> {
    let name = &job.ctx.task.operator;
    let Some(description) = find(&job.ctx.bundle_dir, name)? else {
        return Err(Failure::UnknownOperator(name.clone()));
    };
    let wrong = |why: String| Failure::Plugin { operator: name.clone(), why };
    let templated = description.templated();
    let args = render_args(job.ctx, job.renderer, |name| templated.contains(name), |_| false)?;
    match description.way().map_err(wrong)? {
        Way::Uses(inner, with) => uses(job, inner, with, args),
        Way::Program(file) => {
            let path = inside(&job.ctx.bundle_dir.join(FOLDER), file)?;
            program::run(job, &path, &args).map(Step::Done)
        }
        Way::Rhai(file) => script(job, file, args),
    }
}

/// Another operator, with parameters that see ours as `args`. What they render to isn't rendered again.
fn uses(
    job: &Job<'_>,
    inner: &'static Builtin,
    with: &Map<String, Value>,
    args: Map<String, Value>,
) -> Result<Step, Failure> {
    let renderer = job.renderer.with([("args", Value::Object(args))]);
    let mut filled = with.clone();
    for (name, value) in &mut filled {
        renderer.render_in_place(&format!("with.{name}"), value, inner.code.contains(&name.as_str()))?;
    }
    // What was left out renders to null, and is left out for the inner operator too.
    filled.retain(|_, value| !value.is_null());
    (inner.step)(inner, filled, &Job { ctx: job.ctx, dirs: job.dirs, renderer: &renderer })
}

/// A script, whose value says what to do; see the documentation of plugins.
fn script(job: &Job<'_>, file: &str, args: Map<String, Value>) -> Result<Step, Failure> {
    let name = &job.ctx.task.operator;
    let wrong = |why: String| Failure::Plugin { operator: name.clone(), why };
    let path = inside(&job.ctx.bundle_dir.join(FOLDER), file)?;
    let text =
        std::fs::read_to_string(path).map_err(|source| Failure::File { path: file.to_owned(), source })?;
    let renderer = job.renderer.with([("args", Value::Object(args))]);
    let value = match rhai::evaluate(job, &format!("{FOLDER}/{file}"), &text, renderer.names())? {
        Ok(value) => value,
        Err(why) => return Ok(Step::Done(Finished::failed(why))),
    };
    let Value::Object(mut answer) = value else {
        return Err(wrong(
            "its script must end with an object: `#{ uses, with }` or `#{ outcome, result }`".to_owned(),
        ));
    };
    let Some(uses) = answer.remove("uses") else {
        let finished = serde_json::from_value(Value::Object(answer));
        return finished
            .map(Step::Done)
            .map_err(|e| wrong(format!("its script's answer isn't an outcome: {e}")));
    };
    let inner = uses.as_str().and_then(builtin::find).filter(|inner| inner.runner == Runner::Executor);
    let inner =
        inner.ok_or_else(|| wrong(format!("its script uses {uses}, which isn't a built-in operator")))?;
    let with = match answer.remove("with") {
        Some(Value::Object(with)) => with,
        None => Map::new(),
        Some(_) => return Err(wrong("`with` of its script's answer must be an object".to_owned())),
    };
    (inner.step)(inner, with, job)
}

/// The description in the bundle; none if there is no such file.
fn find(bundle: &std::path::Path, name: &str) -> Result<Option<Description>, Failure> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        return Ok(None);
    }
    let shown = format!("{FOLDER}/{name}.yaml");
    let text = match std::fs::read_to_string(bundle.join(&shown)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Failure::File { path: shown, source }),
    };
    Description::parse(&text, &shown).map(Some).map_err(|diagnostics| {
        let why = diagnostics.into_iter().map(|d| d.message).collect::<Vec<_>>().join("; ");
        Failure::Plugin { operator: name.to_owned(), why }
    })
}

/// Which operator an exit code belongs to, and its parameters as far as they are known before rendering.
///
/// A bundle doesn't change while it is used; a plugin that can't be read any more leaves the defaults.
pub(crate) fn exit_codes(bundle: &std::path::Path, name: &str) -> Option<(&'static str, Value)> {
    if builtin::find(name).is_some() {
        return None;
    }
    let description = find(bundle, name).ok()??;
    match description.way().ok()? {
        Way::Uses(inner, with) => {
            Some((inner.name, with.get("skip_on_exit_code").cloned().unwrap_or(json!(null))))
        }
        Way::Program(_) | Way::Rhai(_) => None,
    }
}
