//! Carries out an operator that a user brought, inside of an attempt.

use serde_json::{Map, Value, json};

use super::{Description, FOLDER, Way, program};
use crate::{
    builtin::{self, Builtin},
    operator::{Failure, Job, Step, inside, render_args},
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
        Way::Rhai(file) => {
            Err(wrong(format!("`rhai: {file}` needs the script host, which this build lacks")))
        }
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
