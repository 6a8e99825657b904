//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}`

use std::str::FromStr;

use axum::{
    Json,
    http::{HeaderMap, header},
};
use dags::{
    ids::{DagId, DispatchId, RunName, TaskId},
    time::Timestamp,
};
use engine::rows::TaskRow;
use migrations::policy::{Action, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access::{Access, Permit, Resource},
    describe::{Describe, JSON, NDJSON, Shaped, Sketch},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    objects::{LogChunk, LogLine, LogOf, Stream},
    v2::task_instances::{Found, find, tries},
};

/// About how much text one answer has at most; more is asked for with the token.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A piece of the log of a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// The lines.
    pub content: Vec<LogEvent>,
    /// Where to go on; none when nothing will follow.
    pub continuation_token: Option<String>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEvent {
    /// When it was read from the task; unknown where an attempt was handed over again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// What it says.
    pub event: String,
    /// Where it came from: our addition.
    pub stream: Stream,
    /// Whether the stream's next line continues this one: our addition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

/// A log in either form, for the document.
pub(crate) struct Pieces;

impl Describe for Pieces {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.header("Accept", "`application/x-ndjson` for one JSON object a line.");
        let log = sketch.schemas.sent::<Log>();
        sketch.answers.insert(200, vec![(JSON, log), (NDJSON, json!({ "type": "string" }))]);
    }
}

/// A place in the log of a try: the hand-over, and the offset in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    n: u32,
    offset: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self { n: 1, offset: 0 }
    }
}

impl FromStr for Place {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed =
            text.split_once('.').and_then(|(n, offset)| Some((n.parse().ok()?, offset.parse().ok()?)));
        parsed.map(|(n, offset)| Self { n, offset }).ok_or("isn't a token that an earlier answer named")
    }
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] = &[
        Parameter::one::<i32>("map_index", "The map index, -1 if absent."),
        Parameter::one::<String>("token", "Where to go on: the `continuation_token` of an earlier answer."),
        Parameter::one::<bool>("full_content", "Whether all that there is is wanted, and not a piece."),
    ];
}

/// A piece of the log of a try, or with `full_content` all that there is. With `Accept: application/x-ndjson` one line
/// per JSON object. Where to go on is `continuation_token`, to be given as `token`.
pub(crate) async fn logs(
    access: Access,
    Named((dag_id, run, task, number)): Named<(DagId, RunName, TaskId, u32)>,
    query: Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Shaped<Pieces>, Error> {
    let may = access.authorize(Resource::dag(Kind::Log, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id, &run, &task, query.read("map_index")?.unwrap_or(-1)).await?;
    let from = query.read("token")?.unwrap_or_default();
    let log = of_try(&may, found, number, from, query.flag("full_content")?.unwrap_or_default()).await?;
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accepted.contains(NDJSON) {
        return Ok(Shaped::new(Json(log)));
    }
    let mut lines = String::new();
    for event in &log.content {
        let line = serde_json::to_string(event).map_err(|error| Error::Internal(error.to_string()))?;
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok(Shaped::new(([(header::CONTENT_TYPE, NDJSON)], lines)))
}

/// The next piece of the log of a try.
pub(crate) async fn piece(may: &Permit, found: Found, number: u32, from: Place) -> Result<Log, Error> {
    of_try(may, found, number, from, false).await
}

async fn of_try(may: &Permit, found: Found, number: u32, from: Place, whole: bool) -> Result<Log, Error> {
    let current = found.row.try_number == number && !found.row.state.is_finished();
    let row = tries::one(may, found, number).await?.row;
    read(may, &row, current, from, whole).await
}

async fn read(may: &Permit, row: &TaskRow, current: bool, from: Place, whole: bool) -> Result<Log, Error> {
    let mut place = from;
    let (mut content, mut bytes) = (Vec::new(), 0);
    loop {
        if place.n > row.dispatch_n {
            // The current try may be handed over yet, or again.
            let token = current.then(|| format!("{}.0", place.n));
            return Ok(Log { content, continuation_token: token });
        }
        let of = LogOf {
            tenant: row.tenant,
            dispatch: DispatchId { attempt: row.attempt(), n: place.n },
            member: 0,
            executor: row.executor.clone(),
            over: !current || place.n < row.dispatch_n,
        };
        let LogChunk { lines, next, complete } = may.state.objects.log(&of, place.offset).await?;
        let empty = lines.is_empty();
        bytes += lines.iter().map(|line| line.text.len()).sum::<usize>();
        content.extend(lines.into_iter().map(|line| event(line, row, place.n)));
        place = if complete { Place { n: place.n + 1, offset: 0 } } else { Place { offset: next, ..place } };
        let enough = !whole || bytes >= ANSWER_BYTES_MAX || (empty && !complete);
        if enough && (place.n <= row.dispatch_n || current) {
            let token = Some(format!("{}.{}", place.n, place.offset));
            return Ok(Log { content, continuation_token: token });
        }
    }
}

fn event(line: LogLine, row: &TaskRow, n: u32) -> LogEvent {
    // `started_at` is the start of the first hand-over of the try.
    let timestamp = row.started_at.filter(|_| n == 1).map(|started| started.after(line.at));
    LogEvent { timestamp, event: line.text, stream: line.stream, continues: line.continues }
}
