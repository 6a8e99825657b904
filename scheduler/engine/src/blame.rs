//! Who is to blame for a bug in the engine: whom it worked for when it panicked.
//!
//! The engine is deterministic, so built again from the same rows it would panic again, and with it everybody would stand
//! still for ever. Whoever it worked for is known at any time; what carries it out can leave that run, DAG or request alone
//! the next time. Nothing that was computed before the panic is used any more.

use std::collections::BTreeMap;

use dags::ids::{DagId, RunId, TenantId};

use crate::{
    engine::Engine,
    rows::{Broken, MemberRow, Snapshot, Subject},
    run::RunIdx,
};

/// Whom the engine works for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum BusyWith {
    /// For nobody in particular.
    #[default]
    Nobody,
    /// For a run, or for its DAG while the run isn't stored.
    Run { tenant: TenantId, run: RunId, stored: bool },
    /// For a DAG.
    Dag(TenantId, DagId),
    /// For whoever sent this request.
    Request(i64),
}

/// Whom a panic is to be blamed on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Culprit {
    /// A run or a DAG.
    Subject(Subject),
    /// A request, by its number in the inbox.
    Request(i64),
}

impl Engine {
    /// From here on it works for nobody in particular.
    pub(crate) fn for_nobody(&mut self) {
        self.busy_with = BusyWith::Nobody;
    }

    /// From here on it works for this run.
    pub(crate) fn for_run(&mut self, run: RunIdx) {
        if let Some(state) = self.runs.get(run as usize).and_then(Option::as_deref) {
            let stored = state.stored.is_some();
            self.busy_with = BusyWith::Run { tenant: state.row.tenant, run: state.row.run, stored };
        }
    }

    /// From here on it works for this DAG.
    pub(crate) fn for_dag(&mut self, dag: u32) {
        let row = &self.dags[dag as usize].row;
        self.busy_with = BusyWith::Dag(row.tenant, row.dag_id.clone());
    }

    /// Whom it worked for last, to be asked after a panic. `fresh` says whether a run was made by a batch that isn't known to
    /// be stored: such a run can't be left alone, its DAG is.
    pub(crate) fn culprit(&self, fresh: impl Fn(RunId) -> bool) -> Option<Culprit> {
        match &self.busy_with {
            BusyWith::Nobody => None,
            BusyWith::Request(id) => Some(Culprit::Request(*id)),
            BusyWith::Dag(tenant, dag_id) => Some(Culprit::Subject(Subject::Dag(*tenant, dag_id.clone()))),
            BusyWith::Run { tenant, run, stored: true } if !fresh(*run) => {
                Some(Culprit::Subject(Subject::Run(*tenant, *run)))
            }
            BusyWith::Run { tenant, run, .. } => {
                let row = &self.runs.iter().flatten().find(|state| state.row.run == *run)?.row;
                Some(Culprit::Subject(Subject::Dag(*tenant, row.dag_id.clone())))
            }
        }
    }
}

impl Snapshot {
    /// Each DAG by itself and each run with its DAG alone, for finding out which of them an engine can't be built with.
    pub fn parts(&self) -> impl Iterator<Item = (Broken, Self)> {
        let mut members: BTreeMap<RunId, Vec<&MemberRow>> = BTreeMap::new();
        for row in &self.members {
            members.entry(row.run).or_default().push(row);
        }
        let dags: BTreeMap<_, _> =
            self.dags.iter().map(|row| ((row.tenant, row.dag_id.clone()), row)).collect();
        let known =
            |version| self.versions.get_key_value(version).map(|(key, dag)| (key.clone(), dag.clone()));
        let alone = self.dags.iter().map(move |row| {
            let part = Self {
                now: self.now,
                dags: vec![row.clone()],
                versions: known(&row.version).into_iter().collect(),
                ..Self::default()
            };
            (Broken::dag(row.tenant, row.dag_id.clone(), ""), part)
        });
        let with_runs = self.runs.iter().map(move |(row, tasks)| {
            let dag = dags.get(&(row.tenant, row.dag_id.clone())).copied();
            let versions = dag.map(|dag| &dag.version).into_iter().chain([&row.version]);
            let part = Self {
                now: self.now,
                dags: dag.into_iter().cloned().collect(),
                versions: versions.filter_map(known).collect(),
                runs: vec![(row.clone(), tasks.clone())],
                members: members.get(&row.run).into_iter().flatten().copied().cloned().collect(),
                ..Self::default()
            };
            (Broken::run(row.tenant, row.run, Some(row.dag_id.clone()), ""), part)
        });
        alone.chain(with_runs)
    }
}
