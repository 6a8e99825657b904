//! What a history does to its journal and what it is told, so that it can be done to another journal, which must answer alike.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{DagVersion, TenantId},
    model::Dag,
};
use engine::{
    command::Command,
    journal::{Inbox, Load, Loaded},
    rows::{Batch, Snapshot},
};

use crate::world::World;

/// One use of the journal.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The model of a version is stored.
    Version(DagVersion, Arc<Dag>),
    /// Somebody puts a request in.
    Request(i64, TenantId, Command),
    /// A new owner takes the shard over and reads everything.
    TakeOver(Box<Snapshot>),
    /// The owner reads requests, but for some.
    Inbox(Vec<i64>, usize, Inbox),
    /// The owner reads a run.
    Load(Load, Box<Loaded>),
    /// The owner commits a batch.
    Commit(Arc<Batch>),
}

impl World {
    /// Writes down from now on what happens to the journal.
    pub(crate) fn record(&mut self) {
        self.tape = Some(Vec::new());
    }

    pub(crate) fn tape(&mut self, step: impl FnOnce() -> Step) {
        let Some(mut tape) = self.tape.take() else { return };
        let known: BTreeSet<DagVersion> = tape
            .iter()
            .filter_map(|step| match step {
                Step::Version(version, _) => Some(version.clone()),
                _ => None,
            })
            .collect();
        let new = self.store.versions.iter().filter(|(version, _)| !known.contains(*version));
        tape.extend(new.map(|(version, model)| Step::Version(version.clone(), model.clone())));
        tape.push(step());
        self.tape = Some(tape);
    }
}

/// A snapshot without what may differ between journals: the order of runs, and models that nobody needs.
pub(crate) fn normal(mut snapshot: Snapshot) -> Snapshot {
    let named = snapshot.dags.iter().map(|dag| dag.version.clone());
    let pinned = snapshot.runs.iter().map(|(run, _)| run.version.clone());
    let needed: BTreeSet<DagVersion> = named.chain(pinned).collect();
    snapshot.versions.retain(|version, _| needed.contains(version));
    snapshot.runs.sort_by_key(|(run, _)| run.run);
    snapshot.members.sort_by_key(engine::rows::MemberRow::key);
    snapshot
}
