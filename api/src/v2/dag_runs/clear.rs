//! `POST /dags/{dag_id}/dagRuns/{dag_run_id}/clear`

use axum::Json;
use dags::ids::{DagId, RunName};
use engine::command::{Clear, Command, Selection};
use migrations::policy::{Action, Kind};
use serde_json::json;

use crate::{
    access::{Access, Resource},
    describe::{Describe, JSON, Shaped, Sketch},
    error::Error,
    extract::{Body, Named},
    v2::{
        dag_runs::{ClearRunBody, DagRun, find, no_note, read},
        select,
        task_instances::{TaskInstanceCollection, collection},
    },
};

/// What would be cleared, or the run that was, for the document.
pub(crate) struct Cleared;

impl Describe for Cleared {
    fn describe(sketch: &mut Sketch<'_>) {
        let either = [sketch.schemas.sent::<TaskInstanceCollection>(), sketch.schemas.sent::<DagRun>()];
        sketch.answers.insert(200, vec![(JSON, json!({ "anyOf": either }))]);
    }
}

/// Runs everything of a run again, or only says what would be.
pub(crate) async fn clear(
    access: Access,
    Named((dag_id, name)): Named<(DagId, RunName)>,
    Body(body): Body<ClearRunBody>,
) -> Result<Shaped<Cleared>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Change).await?;
    no_note(body.note.as_ref())?;
    if body.only_new {
        return Err(Error::unsupported(
            "`only_new`",
            "`run_on_latest_version` creates the tasks that are new",
        ));
    }
    let clear = Clear {
        select: Selection {
            dag_id: dag_id.clone(),
            run_name: name.clone(),
            tasks: Vec::new(),
            upstream: false,
            downstream: false,
        },
        only_failed: body.only_failed,
        only_running: false,
        run_on_latest_version: body.run_on_latest_version.unwrap_or_default(),
    };
    if body.dry_run {
        let row = find(&may, &dag_id, &name).await?;
        let model = select::model(&may, &row).await?;
        let affected =
            select::affected(&may, &row, &model, &clear.select, |state| clear.takes(state)).await?;
        return Ok(Shaped::new(Json(collection(&may, vec![(row, model, affected)]).await?)));
    }
    may.request(Command::Clear(clear)).await?;
    Ok(Shaped::new(Json(read(&may, &dag_id, &name).await?)))
}
