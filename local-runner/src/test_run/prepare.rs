//! The copy of a DAG that a test run activates: one run of it can be made, nothing fires by itself, and nothing waits
//! for what a laptop doesn't have.

use std::collections::{BTreeMap, BTreeSet};

use api::v1::policies::DEFAULT_POOL;
use dags::{
    ids::{PoolName, TaskId},
    model::{Dag, Runner},
    time::Span,
};
use engine::{memory::MemoryJournal, rows::PoolRow};
use scheduler::executors::Mock;

use super::{recording::Given, select::Chosen};
use crate::{
    Error,
    missing::{self, Missing},
};

/// The longest wait before a retry, unless real delays are asked for.
pub(super) const RETRY_DELAY_MAX: Span = Span::seconds(1);

/// A DAG made ready.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The copy.
    pub(crate) dag: Dag,
    /// How tasks end that aren't run.
    pub(crate) given: Given,
    /// What was left out by `--task`, `--from` and `--until`.
    pub(crate) left_out: BTreeSet<TaskId>,
    /// What isn't run since its executor is a stub here.
    pub(crate) stubbed: BTreeSet<TaskId>,
    /// Tasks that are recorded and aren't there any more.
    pub(crate) gone: Vec<String>,
    /// Tasks whose retries wait for less than they say, with what they say.
    pub(crate) shortened: BTreeMap<TaskId, Span>,
    /// Executors that tasks name; they all run here.
    pub(crate) elsewhere: BTreeSet<String>,
}

impl Prepared {
    /// Whether the task isn't run, or only its instances that aren't recorded.
    pub(crate) fn is_given(&self, task: &TaskId) -> bool {
        let recorded = || self.given.recorded.range((task.clone(), -1)..).next();
        self.given.mocks.contains_key(task) || recorded().is_some_and(|((of, _), _)| of == task)
    }
}

/// Makes the copy.
pub(crate) fn prepare(mut dag: Dag, chosen: Chosen, real_delays: bool) -> Prepared {
    dag.only_by_hand();
    let mut given = Given { mocks: chosen.mocked, ..Given::default() };
    if let Some(recording) = &chosen.recording {
        given.record(recording, &chosen.replayed);
    }
    let mut prepared = Prepared {
        given,
        left_out: chosen.left_out,
        stubbed: chosen.stubbed,
        gone: chosen.gone,
        shortened: BTreeMap::new(),
        elsewhere: BTreeSet::new(),
        dag,
    };
    for task in &mut prepared.dag.tasks {
        let name = &task.task_id;
        if prepared.stubbed.contains(name) {
            prepared.given.mocks.insert(name.clone(), Mock::Success(None));
        }
        if prepared.left_out.contains(name) {
            prepared.given.mocks.insert(name.clone(), Mock::Success(None));
            // Without what it is repeated over it couldn't be expanded.
            task.map = None;
        }
        if prepared.given.mocks.contains_key(name) || chosen.replayed.contains(name) {
            task.runner = Runner::Executor;
            task.when = None;
        } else if let Some(executor) = task.executor.as_ref().filter(|name| name.as_str() != super::EXECUTOR)
        {
            prepared.elsewhere.insert(executor.to_string());
        }
        task.executor = None;
        task.queue = None;
        if !real_delays && task.retry_delay > RETRY_DELAY_MAX {
            prepared.shortened.insert(task.task_id.clone(), task.retry_delay);
            task.retry_delay = RETRY_DELAY_MAX;
        }
        if !real_delays {
            task.max_retry_delay = Some(RETRY_DELAY_MAX);
        }
    }
    prepared
}

/// Makes every pool that a task names, without a limit: nobody else takes slots of it here.
pub(crate) fn make_pools(dag: &Dag, tenant: dags::ids::TenantId, journal: &mut MemoryJournal) {
    let names: BTreeSet<&PoolName> = dag.tasks.iter().map(|task| &task.pool).collect();
    for name in names.into_iter().filter(|name| name.as_str() != DEFAULT_POOL) {
        let row = PoolRow { tenant, name: name.clone(), slots: -1, include_deferred: false };
        journal.pools.insert((tenant, name.clone()), row);
    }
}

/// Complains about tasks that would wait for people for ever: nobody is asked in a test.
pub(super) fn check_answers(prepared: &Prepared) -> Result<(), Error> {
    let asks = |task: &&dags::model::Task| matches!(task.operator.as_str(), "approval" | "human_input");
    let open = |task: &&dags::model::Task| task.runner == Runner::Engine;
    let names: Vec<&str> =
        prepared.dag.tasks.iter().filter(asks).filter(open).map(|task| task.task_id.as_str()).collect();
    let Some(first) = names.first() else { return Ok(()) };
    Err(Error::Usage {
        message: format!(
            "{} would wait for people to answer",
            dags::suggest::list(names.iter().copied(), "and")
        ),
        help: Some(format!(
            "say what they answer: `--mock {first}=success`, `--mock {first}=skipped` or \
             `--mock '{first}={{\"chosen_options\": [\"Approve\"]}}'`"
        )),
    })
}

/// Complains about variables and connections that tasks name and nobody gave, all at once.
pub(super) fn check_needs(
    prepared: &Prepared,
    read: impl Fn(&str) -> Option<String>,
    variables: &BTreeSet<&str>,
    connections: &BTreeSet<&str>,
) -> Result<(), Error> {
    let run = prepared.dag.tasks.iter().filter(|task| !prepared.is_given(&task.task_id));
    match missing::of(run, read, variables, connections) {
        None => Ok(()),
        Some(Missing { what, options }) => Err(Error::Usage {
            message: format!("this run has no value for {what}"),
            help: Some(format!(
                "give {options}, mock the tasks, or leave them out with `--task`; `{}` is a database that lives as long as the run",
                crate::connection::TEMPORARY
            )),
        }),
    }
}
