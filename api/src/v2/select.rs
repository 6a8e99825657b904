//! Which task instances and runs a request is about, found without the engine: for dry runs and for what is answered.

use std::sync::Arc;

use dags::{
    ids::{DagId, RunName},
    model::Dag,
    time::Timestamp,
};
use engine::{
    Plan,
    command::Selection,
    rows::{RunRow, TaskRow},
    state::TaskState,
};
use migrations::store::{
    Window, bundle,
    run::{self, RunFilter, RunOrder},
    task_instance::{self, TaskFilter},
};

use crate::{access::Permit, error::Error, v2::dag_runs};

/// The most runs that one request may change: each is a request to the engine of its own.
const RUNS_MAX: u64 = 100;
/// Task instances that are read at once; one run has at most so many.
const TASKS_MAX: u64 = 1_000_000;

/// The model that a run is pinned to.
pub(crate) async fn model(may: &Permit, row: &RunRow) -> Result<Arc<Dag>, Error> {
    let found = bundle::version(may.db(), may.scope, &row.dag_id, &row.version).await?;
    let found = found.ok_or_else(|| {
        Error::Internal(format!("version {} of `{}`, which a run has, isn't stored", row.version, row.dag_id))
    })?;
    Ok(found.model)
}

/// The instances of a run that a selection names and whose state fits, as the engine selects them.
pub(crate) async fn affected(
    may: &Permit,
    row: &RunRow,
    model: &Arc<Dag>,
    select: &Selection,
    takes: impl Fn(TaskState) -> bool,
) -> Result<Vec<TaskRow>, Error> {
    let plan = Plan::new(row.version.clone(), model.clone());
    let chosen = plan.select(select).map_err(Error::Refused)?;
    let window = Window { limit: TASKS_MAX, offset: 0 };
    let all = task_instance::list(may.db(), may.scope, row.run, &TaskFilter::default(), window).await?;
    let fits = |task: &TaskRow| {
        let indexes = chosen.get(&task.task);
        indexes.is_some_and(|list| list.as_ref().is_none_or(|list| list.contains(&task.map_index)))
            && takes(task.state)
    };
    Ok(all.rows.into_iter().filter(fits).collect())
}

/// Which runs of a DAG.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    /// This one.
    pub(crate) name: Option<RunName>,
    /// Also those of earlier logical dates.
    pub(crate) past: bool,
    /// Also those of later logical dates.
    pub(crate) future: bool,
    /// Without a name: those of logical dates from here on.
    pub(crate) from: Option<Timestamp>,
    /// Without a name: those of logical dates up to here.
    pub(crate) to: Option<Timestamp>,
}

/// Those runs, from the earliest date to the latest.
pub(crate) async fn runs(may: &Permit, dag_id: &DagId, wanted: Runs) -> Result<Vec<RunRow>, Error> {
    let (from, to) = match wanted.name {
        Some(name) => {
            let one = dag_runs::find(may, dag_id, &name).await?;
            if !wanted.past && !wanted.future {
                return Ok(vec![one]);
            }
            let Some(date) = one.logical_date else {
                let message = format!("run `{name}` has no logical date, so it has no past or future");
                return Err(Error::BadRequest(message));
            };
            ((!wanted.past).then_some(date), (!wanted.future).then_some(date))
        }
        None => (wanted.from, wanted.to),
    };
    let filter = RunFilter {
        dag_id: Some(dag_id.clone()),
        // A date of any kind: runs without one aren't meant.
        logical_date_from: Some(from.unwrap_or(Timestamp::MIN)),
        logical_date_to: to,
        order: RunOrder::LogicalDate,
        ascending: true,
        ..RunFilter::default()
    };
    let page = run::list(may.db(), may.scope, &filter, Window { limit: RUNS_MAX, offset: 0 }).await?;
    if page.total > RUNS_MAX {
        let message =
            format!("this is about {} runs, at most {RUNS_MAX} at once: name a shorter time", page.total);
        return Err(Error::BadRequest(message));
    }
    Ok(page.rows)
}
