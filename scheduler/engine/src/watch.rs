//! Waits for another DAG: whoever waits is asked again when something of it has ended, and nobody looks in between.
//!
//! Who waits for what is stored as work to continue, and the news wakes in the batch that has it, so neither a crash nor a
//! takeover loses any.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DagId, RunId, TaskId, TenantId},
    time::Span,
};
use serde::{Deserialize, Serialize};

use crate::{
    engine::Engine,
    question::Watch,
    rows::ContinuationRow,
    run::{RunIdx, TiRef},
    state::TaskState,
    transition::Event,
};

/// The longest time between two looks.
const LOOK_AGAIN: Span = Span::seconds(900);
/// The shortest time between two looks at a DAG of which one task after the other ends.
const LOOKS_APART: Span = Span::seconds(1);

/// Who waits for news of which DAG.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    of: BTreeMap<(TenantId, DagId), BTreeMap<Key, Watcher>>,
    /// The same the other way round.
    by: BTreeMap<Key, (TenantId, DagId)>,
}

/// An instance that waits. Its place in its run may change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    run: RunIdx,
    task: TaskId,
    map_index: i32,
}

#[derive(Debug, Clone, Copy)]
struct Watcher {
    /// Whether the end of a task instance is news, too.
    tasks: bool,
    /// Its number in the table of continuations.
    row: i64,
    /// Of its run in memory; one that is quarantined leaves it.
    seq: u64,
}

/// A wait, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredWatch {
    pub(crate) run: RunId,
    task: TaskId,
    map_index: i32,
    dag_id: DagId,
    tasks: bool,
    /// Its run was left alone meanwhile, and nobody heard the news for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deaf: bool,
}

impl Engine {
    /// An instance waits for another DAG.
    pub(crate) fn watch(&mut self, at: TiRef, watch: Watch) {
        let live = self.run(at.run).tis[at.ti as usize].live.as_ref();
        let asked = live.and_then(|live| live.queued_at).unwrap_or(self.now);
        if !self.apply(at, Event::Defer, Some(Arc::from(watch.reason))) {
            return;
        }
        let (tenant, run) = (self.run(at.run).row.tenant, self.run(at.run).row.run);
        let news = self.find_dag(tenant, &watch.dag_id).map(|dag| self.dags[dag as usize].news);
        // What ended while the answer was on its way isn't in it.
        let pause = if news.is_some_and(|news| news >= asked) { LOOKS_APART } else { LOOK_AGAIN };
        let latest = self.now.after(pause);
        let when = watch.until.map_or(latest, |until| until.min(latest));
        self.sleep_until(at, when.max(self.now.after(Span::millis(1))));
        let row = self.next_continuation;
        self.next_continuation += 1;
        let (task, map_index) = self.task_name(at);
        let stored =
            StoredWatch { run, task, map_index, dag_id: watch.dag_id, tasks: watch.tasks, deaf: false };
        self.store_watch(row, &stored);
        self.put_watcher(at.run, row, stored);
    }

    fn put_watcher(&mut self, run: RunIdx, row: i64, stored: StoredWatch) {
        let StoredWatch { task, map_index, dag_id, tasks, .. } = stored;
        let key = Key { run, task, map_index };
        let dag = (self.run(run).row.tenant, dag_id);
        let seq = self.run(run).seq;
        self.watchers.by.insert(key.clone(), dag.clone());
        self.watchers.of.entry(dag).or_default().insert(key, Watcher { tasks, row, seq });
    }

    /// An instance doesn't wait any more.
    pub(crate) fn unwatch(&mut self, at: TiRef) {
        if self.watchers.by.is_empty() {
            return;
        }
        let (task, map_index) = self.task_name(at);
        let key = Key { run: at.run, task, map_index };
        let Some(dag) = self.watchers.by.remove(&key) else { return };
        let Some(watchers) = self.watchers.of.get_mut(&dag) else { return };
        let row = watchers.remove(&key).map(|watcher| watcher.row);
        if watchers.is_empty() {
            self.watchers.of.remove(&dag);
        }
        if let Some(row) = row {
            self.out.continuations.insert(row, ContinuationRow::done(row));
        }
    }

    /// A wait that was stored goes on; of a run that is left alone (`kept`) it goes on when the run is released.
    pub(crate) fn restore_watch(
        &mut self,
        run: Option<RunIdx>,
        kept: bool,
        row: i64,
        mut stored: StoredWatch,
    ) {
        let key = run.map(|run| Key { run, task: stored.task.clone(), map_index: stored.map_index });
        let seq = run.map_or(0, |run| self.run(run).seq);
        match (run, key.and_then(|key| self.waiting(&key, seq))) {
            (Some(run), Some(at)) => {
                let deaf = std::mem::take(&mut stored.deaf);
                if deaf {
                    self.store_watch(row, &stored);
                    self.sleep_until(at, self.now);
                }
                self.put_watcher(run, row, stored);
            }
            (None, _) if kept => {
                if !std::mem::replace(&mut stored.deaf, true) {
                    self.store_watch(row, &stored);
                }
            }
            _ => {
                self.out.continuations.insert(row, ContinuationRow::done(row));
            }
        }
    }

    fn store_watch(&mut self, row: i64, stored: &StoredWatch) {
        let work = serde_json::json!({ "watch": stored });
        self.out.continuations.insert(row, ContinuationRow::new(row, work));
    }

    /// The place of an instance that still waits.
    fn waiting(&self, key: &Key, seq: u64) -> Option<TiRef> {
        if !self.is_run(key.run, seq) {
            return None;
        }
        let run = self.run(key.run);
        let task = run.plan.find(&key.task)?;
        let ti = run.instances(task).find(|ti| run.tis[*ti as usize].map_index == key.map_index)?;
        (run.tis[ti as usize].state == TaskState::Deferred).then_some(TiRef { run: key.run, ti })
    }

    /// A task instance or a run of that DAG ended, or a run was deleted.
    pub(crate) fn news(&mut self, dag: u32, of_run: bool) {
        let now = self.now;
        let state = &mut self.dags[dag as usize];
        state.news = now;
        if self.watchers.of.is_empty() {
            return;
        }
        let Some(watchers) = self.watchers.of.get(&(state.row.tenant, state.row.dag_id.clone())) else {
            return;
        };
        let hears = |watcher: &Watcher| of_run || watcher.tasks;
        let concerned: Vec<(Key, u64)> = watchers
            .iter()
            .filter(|(_, watcher)| hears(watcher))
            .map(|(key, watcher)| (key.clone(), watcher.seq))
            .collect();
        for (key, seq) in concerned {
            let Some(at) = self.waiting(&key, seq) else { continue };
            let live = self.run_mut(at.run).tis[at.ti as usize].live();
            let spaced = live.queued_at.map_or(now, |asked| asked.after(LOOKS_APART)).max(now);
            let when = if of_run { now } else { spaced };
            if live.wake_at.is_none_or(|planned| when < planned) {
                self.sleep_until(at, when);
            }
        }
    }
}
