//! The log of a try as a file to keep.

use std::collections::VecDeque;

use axum::{
    body::Body,
    http::{HeaderValue, header},
};
use bytes::Bytes;
use dags::ids::{DagId, RunName, TaskId};
use migrations::policy::{Action, Kind};
use serde_json::json;

use crate::{
    access::{Access, Permit, Resource},
    describe::{Describe, Shaped, Sketch},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    v2::task_instances::{
        find,
        logs::{self, Log, Place},
    },
};

/// Where a reader is.
struct Reading {
    may: Permit,
    of: (DagId, RunName, TaskId, i32, u32),
    place: Option<Place>,
    /// Pieces that were read and not handed on yet.
    ready: VecDeque<Bytes>,
}

impl Reading {
    /// The next piece of text; none at the end of what is there now.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            let Some(place) = self.place else { return Ok(None) };
            let (dag_id, run, task, map_index, number) = &self.of;
            let found = find(&self.may, dag_id, run, task, *map_index).await?;
            let Log { content, continuation_token } = logs::piece(&self.may, found, *number, place).await?;
            let next = continuation_token.and_then(|token| token.parse().ok());
            // A log that still grows is kept as it is now.
            self.place = if content.is_empty() && next == self.place { None } else { next };
            let mut text = String::new();
            for event in content {
                text.push_str(&event.event);
                if !event.continues {
                    text.push('\n');
                }
            }
            if !text.is_empty() {
                self.ready.push_back(text.into());
            }
        }
    }
}

/// A text, for the document.
pub(crate) struct File;

impl Describe for File {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers.insert(200, vec![("text/plain", json!({ "type": "string" }))]);
    }
}

/// What may be asked.
pub(crate) struct OfWhat;

impl Parameters for OfWhat {
    const ALL: &'static [Parameter] = &[
        Parameter::one::<i32>(
            "map_index",
            "Which task instance of a mapped task; -1, that of an ordinary task, if absent.",
        ),
        Parameter::one::<u32>("try_number", "Which try; the last one if absent."),
    ];
}

/// `GET /dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log?map_index=&try_number=`: the whole log as plain text, as a file.
pub(crate) async fn get(
    access: Access,
    Named((dag_id, run, task)): Named<(DagId, RunName, TaskId)>,
    query: Asked<OfWhat>,
) -> Result<Shaped<File>, Error> {
    let may = access.authorize(Resource::dag(Kind::Log, &dag_id), Action::Read).await?;
    let map_index = query.read("map_index")?.unwrap_or(-1);
    let row = find(&may, &dag_id, &run, &task, map_index).await?.row;
    let number = query.read("try_number")?.unwrap_or(row.try_number);
    let index = if map_index < 0 { String::new() } else { format!("-{map_index}") };
    let plain = |text: &str| -> String {
        let kept = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        text.chars().map(kept).collect()
    };
    let name = format!(
        "{}-{}-{}{index}-{number}.log",
        plain(dag_id.as_str()),
        plain(&run.to_string()),
        plain(task.as_str())
    );
    let of = (dag_id, run, task, map_index, number);
    let mut reading = Reading { may, of, place: Some(Place::default()), ready: VecDeque::new() };
    // What can't be read at all is said before a file begins.
    let first = reading.next().await?;
    let rest = futures::stream::try_unfold(reading, |mut reading| async {
        match reading.next().await {
            Ok(piece) => Ok(piece.map(|piece| (piece, reading))),
            Err(error) => {
                tracing::error!(?error, "the download of a log broke off");
                Err(std::io::Error::other("the log can't be read to its end"))
            }
        }
    });
    let first = futures::stream::iter(first.map(Ok::<_, std::io::Error>));
    let body = Body::from_stream(futures::StreamExt::chain(first, rest));
    let attachment = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .map_err(|error| Error::Internal(error.to_string()))?;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(Shaped::new(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, attachment)], body)))
}
