//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}/wait`

use std::time::Duration;

use axum::{body::Body, http::header};
use bytes::Bytes;
use dags::ids::{DagId, RunId, RunName, TaskId};
use engine::rows::RunRow;
use migrations::policy::{Action, Kind};
use migrations::store::run;
use serde_json::{Map, Value, json};

use crate::{
    access::{Access, Permit, Resource},
    describe::{Describe, NDJSON, Shaped, Sketch},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    v2::{dag_runs::find, xcom},
};

/// The shortest pause between two looks.
const INTERVAL_MIN_S: f64 = 0.01;
/// The longest pause between two looks.
const INTERVAL_MAX_S: f64 = 3_600.0;

/// Lines of JSON, for the document.
pub(crate) struct Lines;

impl Describe for Lines {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers.insert(200, vec![(NDJSON, json!({ "type": "string" }))]);
    }
}

struct Waiting {
    may: Permit,
    run: RunId,
    interval: Duration,
    results: Vec<TaskId>,
    first: bool,
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] = &[
        Parameter::needed::<f64>("interval", "Seconds between two looks, from 0.01 to 3600."),
        Parameter::many::<TaskId>("result", "A task whose result the last line has."),
    ];
}

/// Says the state of a run, one JSON object per line, every `interval` seconds until it has ended; the last line has
/// the results of the tasks that `result` names.
pub(crate) async fn wait(
    access: Access,
    Named((dag_id, name)): Named<(DagId, RunName)>,
    query: Asked<Wanted>,
) -> Result<Shaped<Lines>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Read).await?;
    let interval: f64 = query.read("interval")?.ok_or_else(|| {
        Error::value("query", "interval", "must be given: seconds between two looks", Value::Null)
    })?;
    if !(INTERVAL_MIN_S..=INTERVAL_MAX_S).contains(&interval) {
        let message = format!("must be between {INTERVAL_MIN_S} and {INTERVAL_MAX_S} seconds");
        return Err(Error::value("query", "interval", message, interval));
    }
    if query.text("result").is_some() {
        access.authorize(Resource::dag(Kind::Result, &dag_id), Action::Read).await?;
    }
    let results = query.words("result", |text| TaskId::parse(text).ok())?;
    let run = find(&may, &dag_id, &name).await?.run;
    let interval = Duration::from_secs_f64(interval);
    let waiting = Waiting { may, run, interval, results, first: true };
    let lines = futures::stream::unfold(Some(waiting), |waiting| async {
        let mut waiting = waiting?;
        if !std::mem::take(&mut waiting.first) {
            let closing = waiting.may.state.closing.cancelled();
            if tokio::time::timeout(waiting.interval, closing).await.is_ok() {
                return None;
            }
        }
        Some(match waiting.line().await {
            Ok((line, true)) => (Ok(line), None),
            Ok((line, false)) => (Ok(line), Some(waiting)),
            // The status is sent already: the broken answer says that something is wrong, our log says what.
            Err(error) => {
                tracing::error!(?error, "failed to wait for a run");
                (Err(std::io::Error::other("failed to wait for the run")), None)
            }
        })
    });
    let kind = [(header::CONTENT_TYPE, NDJSON)];
    Ok(Shaped::new((kind, Body::from_stream(lines))))
}

impl Waiting {
    /// The next line, and whether it is the last.
    async fn line(&self) -> Result<(Bytes, bool), Error> {
        let row = run::by_id(self.may.db(), self.may.scope, self.run).await?;
        let Some(row) = row else { return Ok((line(&json!({ "state": "removed" })), true)) };
        if !row.state.is_finished() {
            return Ok((line(&json!({ "state": row.state })), false));
        }
        let mut last = json!({ "state": row.state });
        if !self.results.is_empty() {
            last["results"] = self.results(&row).await?.into();
        }
        Ok((line(&last), true))
    }

    async fn results(&self, row: &RunRow) -> Result<Map<String, Value>, Error> {
        let mut results = Map::new();
        for task in &self.results {
            let mut values = Vec::new();
            for (map_index, value) in xcom::values(&self.may, row, task).await? {
                values.push((map_index, value));
            }
            let value = match values.as_mut_slice() {
                [] => Value::Null,
                [(-1, value)] => value.take(),
                many => many.iter_mut().map(|(_, value)| value.take()).collect(),
            };
            results.insert(task.to_string(), value);
        }
        Ok(results)
    }
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
