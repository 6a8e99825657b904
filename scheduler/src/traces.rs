//! Spans of runs and attempts, made from what a batch has stored: so they tell what is durable, and a crash makes none twice.
//!
//! ```text
//! run.execute                   from when the run was made until it ended
//! ├── batch.commit              each commit with something of the run
//! └── task.attempt              from when a try was ready until its end was known; linked to the try before
//!     ├── task.wait             until it was admitted
//!     ├── task.dispatch         until its executor had started it
//!     ├── task.run              until its end was known
//!     └── task.report           until that was durable
//! ```

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{AttemptId, DagId, RunId},
    time::Timestamp,
};
use engine::{
    rows::{Batch, RunRow, TaskRow},
    state::TaskState,
};
use telemetry::trace::{self, Kind, Span, SpanId, TraceId, Value};

/// Kinds of spans below a run.
const COMMIT: u8 = 0;
const AGAIN: u8 = 1;
/// Kinds of spans below an attempt.
const WAIT: u8 = 0;
const DISPATCH: u8 = 1;
const RUN: u8 = 2;
const REPORT: u8 = 3;

type Attributes = Vec<(&'static str, Value)>;

/// Sends the spans of a batch whose commit took from `began` until `now`.
pub(crate) fn committed(batch: &Batch, began: Timestamp, now: Timestamp) {
    if !trace::is_on() {
        return;
    }
    let mut dags: BTreeMap<RunId, &DagId> = BTreeMap::new();
    for event in batch.events.iter().filter(|event| trace::wants(trace_of(event.run))) {
        dags.insert(event.run, &event.dag_id);
        let mut attributes = vec![
            ("tenant.id", event.tenant.to_string().into()),
            ("dag.id", event.dag_id.as_str().into()),
            ("run.id", event.run.to_string().into()),
        ];
        attributes.push(("batch.number", Value::Number(batch.number as i64)));
        attributes.push(("batch.rows", Value::Number(batch.rows() as i64)));
        let id = SpanId::below(*event.run.0.as_bytes(), COMMIT, batch.number);
        trace::send(Span { name: "batch.commit", ..span(event.run, id, attributes, (began, now)) });
    }
    let runs = batch.runs.iter().filter(|run| run.row.state.is_finished() && !run.before.is_finished());
    for run in runs.map(|changed| &changed.row).filter(|run| dags.contains_key(&run.run)) {
        run_ended(run);
    }
    let open = batch.tasks.iter().filter(|changed| !is_over(changed.before)).map(|changed| &changed.row);
    let changed = open.clone();
    for row in changed.chain(&batch.new_tasks) {
        if let (Some(dag), Some(ended)) = (dags.get(&row.run), row.ended_at)
            && row.state.is_finished()
            && row.try_number > 0
        {
            attempt_ended(row, dag, ended, now);
        }
    }
    if batch.attempts.is_empty() {
        return;
    }
    // A try that is to be followed by another is kept as history when it ends, or when what it ended with is cleared.
    let key = |row: &TaskRow| (row.run, row.task.clone(), row.map_index);
    let open: BTreeSet<_> = open.map(key).collect();
    for attempt in batch.attempts.iter().map(|attempt| &attempt.row) {
        if let (Some(dag), Some(ended)) = (dags.get(&attempt.run), attempt.ended_at)
            && open.contains(&key(attempt))
        {
            attempt_ended(attempt, dag, ended, now);
        }
    }
}

/// How a task's program finds the span that it runs in, if its trace is wanted.
pub(crate) fn traceparent(run: RunId, attempt: AttemptId) -> Option<String> {
    let trace = trace_of(run);
    trace::wants(trace).then(|| SpanId::below(*attempt.0.as_bytes(), RUN, 0).traceparent(trace))
}

fn trace_of(run: RunId) -> TraceId {
    TraceId::of_run(*run.0.as_bytes())
}

/// Whether a try in that state is over, with its span sent.
fn is_over(state: TaskState) -> bool {
    state.is_finished() || state == TaskState::UpForRetry
}

/// A span of a run, as part of the whole run.
fn span(run: RunId, id: SpanId, attributes: Attributes, (start, end): (Timestamp, Timestamp)) -> Span {
    Span {
        trace: trace_of(run),
        id,
        parent: Some(SpanId::of(*run.0.as_bytes())),
        name: "",
        kind: Kind::Internal,
        start: start.0,
        end: end.0,
        attributes,
        links: Vec::new(),
        failure: None,
    }
}

fn run_ended(run: &RunRow) {
    let attributes = vec![
        ("tenant.id", run.tenant.to_string().into()),
        ("dag.id", run.dag_id.as_str().into()),
        ("run.id", run.run.to_string().into()),
        ("run.name", run.run_name.as_str().into()),
        ("run.type", run.run_type.as_str().into()),
        ("run.state", run.state.as_str().into()),
    ];
    let bytes = *run.run.0.as_bytes();
    // A run that was cleared is executed again, within the same trace.
    let (id, parent, start) = match run.clear_number {
        0 => (SpanId::of(bytes), None, run.created_at),
        n => (SpanId::below(bytes, AGAIN, n.into()), Some(SpanId::of(bytes)), run.queued_at),
    };
    let times = (start, run.ended_at.unwrap_or(run.queued_at));
    let failure = (run.state == engine::state::RunState::Failed)
        .then(|| run.reason.as_deref().unwrap_or("a task failed").to_owned());
    trace::send(Span { name: "run.execute", parent, failure, ..span(run.run, id, attributes, times) });
}

fn attempt_ended(row: &TaskRow, dag: &DagId, ended: Timestamp, stored: Timestamp) {
    let attempt = row.attempt();
    let bytes = *attempt.0.as_bytes();
    let mut attributes = vec![
        ("tenant.id", row.tenant.to_string().into()),
        ("dag.id", dag.as_str().into()),
        ("run.id", row.run.to_string().into()),
        ("task.id", row.task.as_str().into()),
        ("map_index", Value::Number(row.map_index.into())),
        ("attempt", attempt.to_string().into()),
        ("try_number", Value::Number(row.try_number.into())),
    ];
    let parts = [
        (WAIT, "task.wait", row.scheduled_at, row.queued_at),
        (DISPATCH, "task.dispatch", row.queued_at, row.started_at),
        (RUN, "task.run", row.started_at, Some(ended)),
        (REPORT, "task.report", Some(ended), Some(stored)),
    ];
    for (kind, name, start, end) in parts {
        // One that was handed over again was started before it was last admitted.
        if let (Some(start), Some(end)) = (start, end)
            && start <= end
        {
            let part = span(row.run, SpanId::below(bytes, kind, 0), attributes.clone(), (start, end));
            trace::send(Span { name, parent: Some(SpanId::of(bytes)), ..part });
        }
    }
    attributes.push(("task.state", row.state.as_str().into()));
    attributes.push(("executor", row.executor.as_ref().map_or("none", |name| name.as_str()).into()));
    if let Some(host) = &row.host {
        attributes.push(("host.name", (&**host).into()));
    }
    if let Some(code) = row.exit_code {
        attributes.push(("exit_code", Value::Number(code.into())));
    }
    let links = (row.try_number > 1).then(|| {
        let before = AttemptId::derive(row.run, &row.task, row.map_index, row.try_number - 1);
        (trace_of(row.run), SpanId::of(*before.0.as_bytes()))
    });
    let failed = row.state == TaskState::Failed;
    let start = row.scheduled_at.or(row.queued_at).or(row.started_at).unwrap_or(ended);
    trace::send(Span {
        name: "task.attempt",
        links: links.into_iter().collect(),
        failure: failed.then(|| row.reason.as_deref().unwrap_or("the attempt failed").to_owned()),
        ..span(row.run, SpanId::of(bytes), attributes, (start, ended))
    });
}
