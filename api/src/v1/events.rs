//! `GET /events`: what happens, as it happens, as server-sent events.
//!
//! One stream has everything that a page shows: runs that changed, cells of the DAGs that are looked at, and the log that is
//! followed. An event's id is the place in the tenant's log of transitions, so whoever connects again with it misses nothing.
//! Rights are those of the one who opened it, looked at for each event and asked for anew while the stream lasts.

mod follow;
mod places;
mod quotas;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequestParts as _, State},
    http::{header, request::Parts},
};
use bytes::Bytes;
use dags::ids::{DagId, RunId, ShardId, TaskId};
use migrations::{
    policy::{Action, Kind},
    store::{
        event::{self, EventCursor},
        overview::{self, Cell},
        shard, tenant,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use self::{
    follow::Follow,
    quotas::{Quotas, Whose},
};
pub(crate) use self::{places::Places, quotas::Readings};
use crate::{
    access::{Access, Known, Permit, Resource},
    describe::{Describe, Shaped, Sketch},
    error::Error,
    extract::{Asked, Parameter, Parameters},
    state::Api,
    v1::grid::{self, GridRun},
};

/// How long events are gathered before they are sent together.
const GATHER: Duration = Duration::from_millis(250);
/// The longest wait between two looks; a hint of a commit ends it.
const LOOK: Duration = Duration::from_secs(1);
/// How long a silent stream stays silent.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How often the right to listen is asked for anew.
const AUTHORIZE: Duration = Duration::from_secs(30);
/// How long one stream lasts; whoever listens connects again.
const LIFE: Duration = Duration::from_hours(1);
/// Events that are read at once.
const EVENTS: u64 = 1_000;
/// Batches after which it is quicker to read everything anew.
const BEHIND_MAX: u64 = 5_000;
/// DAGs whose cells one stream has.
const DAGS_MAX: usize = 20;

/// Runs that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// The runs, each as it is now.
    pub runs: Vec<ChangedRun>,
}

/// A run that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedRun {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run: GridRun,
    /// The tasks that changed, with their cells in a grid, for DAGs that were asked for.
    pub cells: Vec<(TaskId, u8)>,
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] = &[
        Parameter::many::<DagId>("dag", "A DAG whose cells are wanted; at most 20."),
        Parameter::one::<String>("log", "A log to follow: `DAG/RUN/TASK/MAP_INDEX/TRY`."),
        Parameter::one::<String>("from", "The token of the last piece of that log."),
        Parameter::one::<Whose>("quotas", "Whose quotas are followed; none if absent."),
        Parameter::one::<String>(
            "after",
            "The id of the last event that was seen, unless `Last-Event-ID` says it.",
        ),
    ];
}

/// Events, for the document.
pub(crate) struct Told;

impl Describe for Told {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.header("Last-Event-ID", "The id of the last event that was seen.");
        sketch.answers.insert(200, vec![("text/event-stream", json!({ "type": "string" }))]);
    }
}

/// `GET /events?dag=&log=&quotas=&after=`: `dag` may be repeated; `quotas` is `own` or, for who administers the platform, `all`;
/// `log` is `DAG/RUN/TASK/MAP_INDEX/TRY`, with `from` as the token of the log's last piece; `after` is the id of the last event
/// that was seen, unless `Last-Event-ID` says it.
///
/// Events are `hello` with nothing but an id, `change` with [`Changes`], `log` with lines and a token, `log_end`, `quotas` with all
/// of them when their use changed, `resync` if too much happened to be told one by one, and `end` with the reason if there is
/// nothing more to hear.
pub(crate) async fn events(
    State(api): State<Api>,
    access: Access,
    query: Asked<Wanted>,
    mut parts: Parts,
) -> Result<Shaped<Told>, Error> {
    let dags = query.words("dag", |text| DagId::parse(text).ok())?;
    if dags.len() > DAGS_MAX {
        return Err(Error::value("query", "dag", format!("may name {DAGS_MAX} DAGs"), dags.len()));
    }
    let follow = Follow::asked_for(&query)?;
    let whose = query.text("quotas").map(|text| {
        Whose::parse(text).ok_or_else(|| Error::value("query", "quotas", "must be own or all", text))
    });
    let whose = whose.transpose()?;
    let rights = Rights::ask(&access, &dags, follow.as_ref()).await?;
    may_measure(&mut parts, &api, &access, whose).await?;
    let place = api.0.places.take(access.account()).ok_or(Error::TooMany { after_s: 5 })?;
    let seen = parts.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let seen = seen.or_else(|| query.text("after")).and_then(cursor);
    let scope = rights.runs.scope;
    let tenant = tenant::by_id(&api.0.db, scope.tenant()).await?;
    let shard = tenant.map_or(ShardId::DEFAULT, |tenant| tenant.shard);
    let now = Instant::now();
    let live = Live {
        api,
        parts,
        dags: dags.into_iter().collect(),
        follow,
        whose,
        quotas: whose.map(Quotas::new),
        rights,
        shard,
        cursor: EventCursor::default(),
        seen,
        begun: false,
        authorized: now,
        until: now + LIFE,
        spoke: now,
        _place: place,
    };
    let pieces = futures::stream::unfold(Some(live), |live| async {
        let mut live = live?;
        match live.next().await {
            Ok(Some(piece)) => Some((Ok::<_, std::io::Error>(piece), Some(live))),
            Ok(None) => None,
            Err(error) => Some((Ok(ending(&error)), None)),
        }
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok(Shaped::new((kind, Body::from_stream(pieces))))
}

/// Whether somebody may follow these quotas.
async fn may_measure(
    parts: &mut Parts,
    api: &Api,
    access: &Access,
    whose: Option<Whose>,
) -> Result<(), Error> {
    match whose {
        None => Ok(()),
        Some(Whose::Own) => access.list(Kind::Pool).await.map(drop),
        Some(Whose::All) => Known::from_request_parts(parts, api).await?.platform(Action::Read).await,
    }
}

/// What one may hear.
struct Rights {
    runs: Permit,
    tasks: Permit,
}

impl Rights {
    async fn ask(access: &Access, dags: &[DagId], follow: Option<&Follow>) -> Result<Self, Error> {
        let runs = access.list(Kind::Run).await?;
        let mut tasks = Permit { visible: access.seen(Kind::Task), ..runs.clone() };
        for dag in dags {
            tasks = access.authorize(Resource::dag(Kind::Task, dag), Action::Read).await?;
        }
        if let Some(follow) = follow {
            access.authorize(Resource::dag(Kind::Log, &follow.dag_id), Action::Read).await?;
        }
        Ok(Self { runs, tasks })
    }
}

struct Live {
    api: Api,
    /// The request, to ask for the rights again.
    parts: Parts,
    dags: BTreeSet<DagId>,
    follow: Option<Follow>,
    whose: Option<Whose>,
    quotas: Option<Quotas>,
    rights: Rights,
    shard: ShardId,
    cursor: EventCursor,
    /// What the listener has seen already.
    seen: Option<EventCursor>,
    begun: bool,
    authorized: Instant,
    until: Instant,
    spoke: Instant,
    _place: places::Place,
}

impl Live {
    /// The next piece of the stream; none if it is over.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if !std::mem::replace(&mut self.begun, true) {
            return self.begin().await.map(Some);
        }
        let state = self.api.0.clone();
        loop {
            if Instant::now() >= self.until || state.closing.is_cancelled() {
                return Ok(None);
            }
            if self.authorized.elapsed() >= AUTHORIZE {
                self.authorize().await?;
            }
            let settled = state.settled.notified();
            tokio::pin!(settled);
            // Listens before it looks: what is committed in between isn't missed.
            settled.as_mut().enable();
            let mut piece = self.changes().await?;
            if let Some(follow) = &mut self.follow {
                piece.extend(follow.piece(&self.rights.tasks).await?);
            }
            if self.follow.as_ref().is_some_and(Follow::is_over) {
                self.follow = None;
            }
            if let Some(quotas) = &mut self.quotas {
                if !piece.is_empty() {
                    quotas.hurry();
                }
                piece.extend(quotas.piece(&self.rights.runs).await?);
            }
            if piece.is_empty() && self.spoke.elapsed() >= HEARTBEAT {
                piece.extend_from_slice(b": still here\n\n");
            }
            let spoken = !piece.is_empty();
            if spoken {
                self.spoke = Instant::now();
                return Ok(Some(piece.into()));
            }
            let look = if self.follow.is_some() || self.quotas.is_some() { GATHER } else { LOOK };
            tokio::select! {
                () = settled => {
                    // What comes close together is told together.
                    let _ = tokio::time::timeout(GATHER, state.closing.cancelled()).await;
                }
                _ = tokio::time::timeout(look, state.closing.cancelled()) => {}
            }
        }
    }

    async fn begin(&mut self) -> Result<Bytes, Error> {
        let newest = shard::ownership(self.rights.runs.db(), self.rights.runs.scope).await?.batch;
        let (cursor, lost) = match self.seen {
            None => (EventCursor::after(newest), false),
            Some(seen) if seen.batch > newest || newest - seen.batch > BEHIND_MAX => {
                (EventCursor::after(newest), true)
            }
            Some(seen) => (seen, false),
        };
        self.cursor = cursor;
        let name = if lost { "resync" } else { "hello" };
        Ok(told(name, Some(cursor), &json!({})).into())
    }

    async fn authorize(&mut self) -> Result<(), Error> {
        let mut parts = self.parts.clone();
        let access = Access::from_request_parts(&mut parts, &self.api).await?;
        may_measure(&mut parts, &self.api, &access, self.whose).await?;
        let dags: Vec<DagId> = self.dags.iter().cloned().collect();
        self.rights = Rights::ask(&access, &dags, self.follow.as_ref()).await?;
        self.authorized = Instant::now();
        Ok(())
    }

    /// What changed since the last look, ready to be sent; nothing if nothing did that may be seen.
    async fn changes(&mut self) -> Result<Vec<u8>, Error> {
        let Rights { runs: may, .. } = &self.rights;
        let (db, scope) = (may.db(), may.scope);
        let found = event::since(db, scope, self.shard, self.cursor, EVENTS).await?;
        let Some((last, _)) = found.last() else { return Ok(Vec::new()) };
        self.cursor = *last;
        let mut seen: BTreeMap<DagId, bool> = BTreeMap::new();
        let mut changed: BTreeMap<RunId, BTreeSet<TaskId>> = BTreeMap::new();
        for (_, row) in found {
            let sees = match seen.get(&row.dag_id) {
                Some(sees) => *sees,
                None => {
                    let sees = may.sees(row.dag_id.as_str()).await?;
                    seen.insert(row.dag_id.clone(), sees);
                    sees
                }
            };
            if sees {
                let tasks = row.transitions.into_iter().filter_map(|step| step.task).map(|(task, _)| task);
                changed.entry(row.run).or_default().extend(tasks);
            }
        }
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<RunId> = changed.keys().copied().collect();
        let rows = overview::by_ids(db, scope, &ids).await?;
        let detailed: Vec<RunId> =
            rows.iter().filter(|run| self.dags.contains(&run.dag_id)).map(|run| run.run).collect();
        let cells = overview::cells(db, scope, &detailed).await?;
        let mut cells_of: BTreeMap<(RunId, &TaskId), Vec<&Cell>> = BTreeMap::new();
        for cell in &cells {
            if changed.get(&cell.run).is_some_and(|tasks| tasks.contains(&cell.task)) {
                cells_of.entry((cell.run, &cell.task)).or_default().push(cell);
            }
        }
        let mut runs: Vec<ChangedRun> = Vec::with_capacity(rows.len());
        for run in &rows {
            let of_run = cells_of.iter().filter(|((id, _), _)| *id == run.run);
            let cells = of_run.map(|((_, task), cells)| ((*task).clone(), grid::byte(cells))).collect();
            runs.push(ChangedRun { dag_id: run.dag_id.clone(), run: grid::column(run), cells });
        }
        Ok(told("change", Some(self.cursor), &Changes { runs }))
    }
}

/// An event as it is written in a stream.
pub(crate) fn told(name: &str, id: Option<EventCursor>, data: &impl Serialize) -> Vec<u8> {
    let id = id.map(|cursor| format!("id: {}.{}\n", cursor.batch, cursor.n)).unwrap_or_default();
    let data = serde_json::to_string(data)
        .unwrap_or_else(|why| json!({ "unwritable": why.to_string() }).to_string());
    format!("{id}event: {name}\ndata: {data}\n\n").into_bytes()
}

/// Says that there is nothing more to hear, and why as far as the listener may know.
fn ending(error: &Error) -> Bytes {
    let reason = match error {
        Error::Unauthorized(_) | Error::MustChange => "signed_out",
        Error::NotFound(_) | Error::Forbidden(_) => "forbidden",
        error => {
            tracing::error!(?error, "a stream of events broke");
            "broken"
        }
    };
    told("end", None, &json!({ "reason": reason })).into()
}

fn cursor(text: &str) -> Option<EventCursor> {
    let (batch, n) = text.split_once('.')?;
    Some(EventCursor { batch: batch.parse().ok()?, n: n.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let place = EventCursor { batch: 17, n: 3 };
        let text = String::from_utf8(told("hello", Some(place), &json!({}))).unwrap();
        assert_eq!(text, "id: 17.3\nevent: hello\ndata: {}\n\n");
        assert_eq!(cursor("17.3"), Some(place));
        assert_eq!(cursor("x"), None);
    }
}
