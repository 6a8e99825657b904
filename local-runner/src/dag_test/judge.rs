//! What came of a run against what was expected of it.

use dags::{
    dag_test::{AlertExpect, DagTest, Placed, Selector, TaskExpect},
    glob,
    ids::TenantId,
    model::Dag,
    time::{Span, Timestamp},
    tree::ByteRange,
};
use plugins::script::ScriptPool;
use serde_json::Value;

use super::{
    play::no_scripts,
    seen::{Seen, SeenTask, alert_json},
};

/// Something that isn't as it was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where the expectation was written.
    pub span: ByteRange,
    /// The same as line and column.
    pub place: (usize, usize),
    /// What is different, such as `tasks.load.state`.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub seen: String,
    /// Why it came so, if that is known.
    pub why: Option<String>,
}

impl Difference {
    pub(super) fn new(span: ByteRange, what: impl Into<String>, expected: String, seen: String) -> Self {
        Self { span, place: (0, 0), what: what.into(), expected, seen, why: None }
    }

    fn because(self, why: Option<String>) -> Self {
        Self { why, ..self }
    }
}

/// Everything that isn't as it was expected, but for scripts.
pub(super) fn judge(test: &DagTest, dag: &Dag, seen: &Seen) -> Vec<Difference> {
    let expect = &test.expect;
    let mut found = Vec::new();
    let state = seen.state().as_str();
    if state != expect.state.value {
        let why = seen.stuck.clone().or_else(|| first_failure(seen));
        found.push(
            Difference::new(expect.state.span, "state", expect.state.value.clone(), state.to_owned())
                .because(why),
        );
    }
    if let Some(wanted) = &expect.reason {
        contains(&mut found, "reason", wanted, seen.run.reason.as_deref());
    }
    for (selector, wanted) in &expect.tasks {
        of_task(&mut found, dag, seen, selector, wanted);
    }
    order(&mut found, seen, &expect.order);
    for (branch, wanted) in &expect.branch {
        let followed = seen.of(&branch.value).next().and_then(|task| task.follows.clone());
        if followed.as_ref() != Some(&wanted.value) {
            let came =
                followed.map_or_else(|| "nothing: it didn't decide".to_owned(), |names| names.join(", "));
            let why = seen.of(&branch.value).next().and_then(SeenTask::why);
            let what = format!("branch.{}", branch.value);
            found.push(Difference::new(wanted.span, what, wanted.value.join(", "), came).because(why));
        }
    }
    if let Some(wanted) = &expect.alerts {
        alerts(&mut found, seen, wanted);
    }
    if let Some(wanted) = &expect.assets
        && wanted.value != seen.assets
    {
        let lines = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join("\n") };
        found.push(Difference::new(wanted.span, "assets", lines(&wanted.value), lines(&seen.assets)));
    }
    if let Some(wanted) = &expect.next_runs {
        next_runs(&mut found, seen, wanted);
    }
    if let Some(wanted) = &expect.duration {
        spans(&mut found, "duration", wanted, seen.duration());
    }
    found
}

fn first_failure(seen: &Seen) -> Option<String> {
    let failed = seen.tasks.iter().find(|task| task.state == engine::state::TaskState::Failed)?;
    let why = failed.why().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("`{}` failed{why}", failed.label()))
}

fn of_task(
    found: &mut Vec<Difference>,
    dag: &Dag,
    seen: &Seen,
    selector: &Placed<Selector>,
    wanted: &TaskExpect,
) {
    let fits = |task: &&SeenTask| {
        glob::fits(&selector.value.task, &task.task)
            && selector.value.index.is_none_or(|index| index == task.index)
    };
    let tasks: Vec<&SeenTask> = seen.tasks.iter().filter(fits).collect();
    if let Some(instances) = &wanted.instances {
        let n = tasks.iter().filter(|task| task.index >= 0).count();
        if n != instances.value as usize {
            let what = format!("tasks.{}.instances", selector.value);
            let why = tasks.first().and_then(|task| task.why());
            found.push(
                Difference::new(instances.span, what, instances.value.to_string(), n.to_string())
                    .because(why),
            );
        }
    }
    if tasks.is_empty() {
        let what = format!("tasks.{}", selector.value);
        let expected = "an instance of this task".to_owned();
        return found.push(Difference::new(selector.span, what, expected, "none".to_owned()));
    }
    for task in tasks {
        of_instance(found, dag, seen, task, wanted);
    }
}

fn of_instance(found: &mut Vec<Difference>, dag: &Dag, seen: &Seen, task: &SeenTask, wanted: &TaskExpect) {
    let what = |part: &str| format!("tasks.{}.{part}", task.label());
    let mut differs = |span, part: &str, expected: String, came: String| {
        found.push(Difference::new(span, what(part), expected, came).because(task.why()));
    };
    if let Some(state) = wanted.state.as_ref().filter(|state| state.value != task.state.as_str()) {
        differs(state.span, "state", state.value.clone(), task.state.to_string());
    }
    if let Some(tries) = wanted.tries.as_ref().filter(|tries| tries.value != task.tries) {
        differs(tries.span, "tries", tries.value.to_string(), task.tries.to_string());
    }
    if let Some(result) = &wanted.result
        && task.result.as_ref().unwrap_or(&Value::Null) != &result.value
    {
        let came = task.result.as_ref().map_or_else(|| "no result".to_owned(), lines);
        differs(result.span, "result", lines(&result.value), came);
    }
    for (name, value) in &wanted.rendered {
        if let Some((expected, came)) = rendered(dag, task, name, &value.value) {
            found.push(Difference::new(value.span, what(&format!("rendered.{name}")), expected, came));
        }
    }
    if let Some(reason) = &wanted.reason {
        contains(found, &what("reason"), reason, task.reason.as_deref());
    }
    if let Some(starts) = &wanted.starts {
        spans(found, &what("starts"), starts, seen.since_start(task.started_at));
    }
}

/// What was expected of a parameter and what it is, if that differs.
fn rendered(dag: &Dag, task: &SeenTask, name: &str, wanted: &Value) -> Option<(String, String)> {
    let values = match &task.rendered {
        Some(Ok(values)) => values,
        Some(Err(why)) => return Some((lines(wanted), format!("it can't be rendered: {why}"))),
        None => return Some((lines(wanted), "nothing: the task wasn't started".to_owned())),
    };
    let model = dag.tasks.iter().find(|model| model.task_id.as_str() == task.task)?;
    // The operator's own name means its main field.
    let main = task.main.as_deref().filter(|_| model.operator == name);
    let value = values.get(name).or_else(|| values.get(main?));
    let value = value.unwrap_or(&Value::Null);
    (trimmed(value) != trimmed(wanted)).then(|| (lines(&trimmed(wanted)), lines(&trimmed(value))))
}

/// Without the blanks that YAML's blocks leave at the end of a text.
fn trimmed(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.trim_end().to_owned()),
        other => other.clone(),
    }
}

/// A value as lines: a text as it is, anything else as indented JSON.
fn lines(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => {
            serde_json::to_string_pretty(value).expect("invariant: a JSON value is JSON")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn contains(found: &mut Vec<Difference>, what: &str, wanted: &Placed<String>, came: Option<&str>) {
    if came.is_none_or(|came| !came.contains(&wanted.value)) {
        let expected = format!("a text with `{}`", wanted.value);
        let came = came.unwrap_or("no reason").to_owned();
        found.push(Difference::new(wanted.span, what, expected, came));
    }
}

fn spans(found: &mut Vec<Difference>, what: &str, wanted: &Placed<Span>, came: Option<Span>) {
    if came != Some(wanted.value) {
        let came = came.map_or_else(|| "never".to_owned(), |span| span.to_string());
        found.push(Difference::new(wanted.span, what, wanted.value.to_string(), came));
    }
}

fn order(found: &mut Vec<Difference>, seen: &Seen, order: &[Placed<String>]) {
    for pair in order.windows(2) {
        let [before, after] = pair else { continue };
        let ended = seen.of(&before.value).map(|task| task.ended_at).collect::<Option<Vec<_>>>();
        let ended = ended.and_then(|all| all.into_iter().max());
        let started = seen.of(&after.value).filter_map(|task| task.started_at).min();
        let fine = matches!((ended, started), (Some(ended), Some(started)) if ended <= started);
        if !fine {
            let shown =
                |at: Option<Timestamp>| seen.since_start(at).map_or("never".to_owned(), |at| at.to_string());
            let expected = format!("`{}` starts after `{}` has ended", after.value, before.value);
            let came = format!(
                "`{}` ended at {}, `{}` started at {}",
                before.value,
                shown(ended),
                after.value,
                shown(started)
            );
            found.push(Difference::new(after.span, "order", expected, came));
        }
    }
}

fn alerts(found: &mut Vec<Difference>, seen: &Seen, wanted: &Placed<Vec<AlertExpect>>) {
    let expected: Vec<Value> = wanted
        .value
        .iter()
        .map(|alert| {
            let mut value = serde_json::json!({"kind": alert.kind, "to": alert.to});
            if let Some(task) = &alert.task {
                value["task"] = Value::String(task.clone());
            }
            value
        })
        .collect();
    let came: Vec<Value> = seen.alerts.iter().map(alert_json).collect();
    if expected != came {
        let shown = |all: &[Value]| {
            let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
            if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
        };
        found.push(Difference::new(wanted.span, "alerts", shown(&expected), shown(&came)));
    }
}

fn next_runs(found: &mut Vec<Difference>, seen: &Seen, wanted: &Placed<Vec<Timestamp>>) {
    let shown = |all: &[Timestamp]| {
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
    };
    let came = match &seen.next_runs {
        Ok(came) if *came == wanted.value => return,
        Ok(came) => shown(came),
        Err(why) => why.clone(),
    };
    found.push(Difference::new(wanted.span, "next_runs", shown(&wanted.value), came));
}

/// Runs the scripts, each of which must come to `true`.
pub(super) async fn scripts(test: &DagTest, pool: Option<&ScriptPool>, seen: &Seen) -> Vec<Difference> {
    let mut found = Vec::new();
    if test.expect.check.is_empty() {
        return found;
    }
    let context = seen.to_json();
    for script in &test.expect.check {
        let came = match pool {
            None => no_scripts(),
            Some(pool) => match pool.run(TenantId::DEFAULT, "<check>", &script.value, &context).await {
                Ok(ran) if ran.value == Value::Bool(true) => continue,
                Ok(ran) => {
                    let mut came = ran.printed;
                    came.push(ran.value.to_string());
                    came.join("\n")
                }
                Err(error) => error.to_string(),
            },
        };
        found.push(Difference::new(script.span, "check", "true".to_owned(), came));
    }
    found
}
