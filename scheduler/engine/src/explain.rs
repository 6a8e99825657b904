//! Why something waits: what holds a task instance now, with the numbers, and what would free it.
//!
//! Reads the same counters that decide, so that an explanation can't differ from the decision. The most general cause comes
//! first: while a DAG is paused it doesn't matter that a pool is full, but both are said.

use dags::{
    ids::{DagId, RunName, TaskId, TenantId},
    time::Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{DagState, Engine},
    fleet::Candidates,
    plan::TaskIdx,
    queue::{Pending, Standing},
    run::{Past, Run, Ti, TiRef, flag},
    state::{RunState, TaskState},
};

mod limit;

pub use limit::{HeldBy, Limit, Unfinished};

/// The most tasks that a [`Limit`] names; the rest is counted only.
const NAMES_MAX: usize = 20;

/// Why a task instance isn't running.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Its state.
    pub state: TaskState,
    /// What holds it, most general first. Empty if it is about to move by itself.
    pub holds: Vec<Hold>,
}

/// One thing that holds a task instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// What it is, with the numbers now.
    pub limit: Limit,
    /// The same in a sentence.
    pub says: String,
    /// What would free the instance, in a sentence.
    pub frees: String,
}

impl Engine {
    /// What holds a task instance that isn't running. None if it runs or is over, if its run is over or not in memory, or if
    /// there is no such instance.
    pub fn explain(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        run_name: &RunName,
        task_id: &TaskId,
        map_index: i32,
    ) -> Option<Waiting> {
        let dag = &self.dags[self.find_dag(tenant, dag_id)? as usize];
        let index = *dag.runs.get(run_name)?;
        let run = self.run(index);
        if run.row.state.is_finished() {
            return None;
        }
        let task = run.plan.find(task_id)?;
        let ti = run.instances(task).find(|ti| run.tis[*ti as usize].map_index == map_index)?;
        let (at, ti) = (TiRef { run: index, ti }, &run.tis[ti as usize]);
        let mut holds = Vec::new();
        match ti.state {
            TaskState::None => {
                hold_of_dag(dag, &mut holds);
                self.hold_of_run(dag, run, at, &mut holds);
                self.hold_of_rule(run, at, task, &mut holds);
            }
            TaskState::Scheduled => {
                hold_of_dag(dag, &mut holds);
                self.hold_of_admission(dag, run, at, ti, &mut holds);
            }
            TaskState::UpForRetry | TaskState::UpForReschedule | TaskState::Deferred => {
                hold_of_dag(dag, &mut holds);
                let wake = ti.live.as_ref().and_then(|live| live.wake_at);
                let reason = ti.live.as_ref().and_then(|live| live.reason.as_deref());
                let reason = reason.filter(|_| ti.state == TaskState::Deferred);
                holds.extend(wake.filter(|wake| *wake > self.now).map(|at| until(ti.state, at, reason)));
            }
            TaskState::AwaitingInput => holds.push(Hold {
                limit: Limit::Question,
                says: ti
                    .live
                    .as_ref()
                    .and_then(|live| live.reason.as_deref())
                    .unwrap_or("it waits for an answer")
                    .to_owned(),
                frees: "somebody answers it, with `updraft tasks answer`".to_owned(),
            }),
            TaskState::Restarting => holds.push(Hold {
                limit: Limit::Ending,
                says: "it was cleared while it ran, and its attempt is being ended".to_owned(),
                frees: "its executor confirms that the attempt has ended".to_owned(),
            }),
            TaskState::Queued
            | TaskState::Running
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed => return None,
        }
        Some(Waiting { state: ti.state, holds })
    }

    fn hold_of_run(&self, dag: &DagState, run: &Run, at: TiRef, holds: &mut Vec<Hold>) {
        let row = &run.row;
        if row.state != RunState::Queued {
            return;
        }
        if row.run_after > self.now {
            holds.push(Hold {
                limit: Limit::RunDue { run_after: row.run_after },
                says: format!("the run is due at {}", row.run_after),
                frees: "that instant comes".to_owned(),
            });
            return;
        }
        if let Some((id, _)) = row.backfill {
            if let Some(reason) = self.unreadable_backfills.get(&(row.tenant, id)) {
                holds.push(Hold {
                    limit: Limit::Backfill { id, paused: true, running: 0, limit: 0 },
                    says: format!("what backfill {id} asked for can't be read: {reason}"),
                    frees: "it is mended and the service is restarted".to_owned(),
                });
                return;
            }
            let Some(state) = self.backfills.get(&(row.tenant, id)) else { return };
            let (paused, running, limit) = (state.row.paused, state.running, state.row.spec.max_active_runs);
            holds.push(Hold {
                limit: Limit::Backfill { id, paused, running, limit },
                says: if paused {
                    format!("backfill {id} is paused")
                } else {
                    format!("backfill {id} has {running} of at most {limit} runs running")
                },
                frees: if paused { "the backfill is unpaused" } else { "one of its runs ends" }.to_owned(),
            });
            return;
        }
        let (running, limit) = (dag.running, dag.plan.dag().max_active_runs);
        let key = (false, row.run_after, run.seq, at.run);
        let ahead = dag.queued.range(..key).filter(|(_, due, ..)| *due <= self.now).count() as u32;
        if running + ahead >= limit {
            holds.push(Hold {
                limit: Limit::MaxActiveRuns { running, limit, ahead },
                says: format!("{running} of at most {limit} runs of the DAG are running, and {ahead} start before this one"),
                frees: "runs of the DAG end, or its `max_active_runs` is raised".to_owned(),
            });
        }
    }

    fn hold_of_rule(&self, run: &Run, at: TiRef, task: TaskIdx, holds: &mut Vec<Hold>) {
        let plan = &run.plan.tasks[task as usize];
        let ti = &run.tis[at.ti as usize];
        let unit = run.unit_of(at.ti);
        let counters = &run.units[unit as usize];
        let up = counters.up;
        if plan.mapped && !run.spans[task as usize].expanded {
            let waits_for = unfinished(run, task, unit, &plan.sources);
            if !waits_for.is_empty() {
                holds.push(Hold {
                    says: format!("how often it is repeated depends on {}", names(&waits_for)),
                    limit: Limit::Expansion { waits_for },
                    frees: "they end".to_owned(),
                });
            }
        }
        let setups = &counters.setups;
        if up.done() < up.total || setups.unfinished > 0 || setups.scope_unfinished > 0 {
            let mut before = run.plan.ups.of(task).to_vec();
            before.extend_from_slice(run.plan.covers.of(task));
            before.extend_from_slice(&plan.setups);
            before.sort_unstable();
            before.dedup();
            let waits_for = unfinished(run, task, unit, &before);
            let (done, total, rule) = (up.done(), up.total, plan.rule);
            holds.push(Hold {
                says: format!(
                    "{done} of {total} upstream instances have ended; it waits for {}",
                    names(&waits_for)
                ),
                limit: Limit::Upstream { rule, done, total, waits_for },
                frees: format!("they end so that `{rule}` is decided"),
            });
        } else if ti.has(flag::ASKING) {
            holds.push(question());
        } else if ti.has(flag::WAITS_FOR_PAST) {
            holds.push(self.hold_of_past(run, at));
        }
    }

    fn hold_of_past(&self, run: &Run, at: TiRef) -> Hold {
        let tasks = self.looks_at(at);
        let (run_name, tasks) = match &run.past {
            Past::Run(before) => {
                let before = self.run(*before);
                let open = |name: &TaskId| {
                    before.plan.find(name).is_some_and(|task| !crate::past::settled(before, task))
                };
                (Some(before.row.run_name.clone()), tasks.into_iter().filter(open).collect())
            }
            Past::Over(blocked) => (None, tasks.into_iter().filter(|name| blocked.contains(name)).collect()),
            Past::Unknown | Past::Loading | Past::None => (None, Vec::new()),
        };
        let which =
            run_name.as_ref().map_or_else(|| "the run before".to_owned(), |name| format!("run `{name}`"));
        Hold {
            says: format!("{} of {which} hasn't ended well", list(&tasks)),
            limit: Limit::Past { run_name, tasks },
            frees: "those tasks succeed, are skipped or are marked as successful there".to_owned(),
        }
    }

    fn hold_of_admission(&self, dag: &DagState, run: &Run, at: TiRef, ti: &Ti, holds: &mut Vec<Hold>) {
        if !ti.has(flag::PENDING) {
            return;
        }
        let (model, pending) = (run.plan.model(ti.task), run.pending(at));
        if run.parked.contains(&pending) {
            let (active, limit) = (run.active, run.plan.dag().max_active_tasks);
            let queued = run.window.len() as u32;
            if active + queued >= limit {
                holds.push(Hold {
                    limit: Limit::MaxActiveTasks { active, queued, limit },
                    says: format!("{active} tasks of the run are active and {queued} wait before this one, of at most {limit}"),
                    frees: "tasks of the run end, or the DAG's `max_active_tasks` is raised".to_owned(),
                });
            }
        } else if !run.window.contains(&pending) {
            let of_run = run.limited.get(&ti.task).zip(model.max_active_per_run).map(|known| (known, false));
            let of_dag = dag.limited.get(&model.task_id).zip(model.max_active).map(|known| (known, true));
            for ((limited, limit), all_runs) in of_run.into_iter().chain(of_dag) {
                if limited.parked.contains(&pending) {
                    holds.push(max_active(limited.active, limit, all_runs));
                }
            }
        }
        self.hold_of_capacity(run, ti.task, &pending, holds);
    }

    fn hold_of_capacity(&self, run: &Run, task: TaskIdx, pending: &Pending, holds: &mut Vec<Hold>) {
        let lane = run.lanes[task as usize];
        if lane == u32::MAX {
            return;
        }
        let standing = self.queue.standing(lane, pending);
        let (pool, executor) = (standing.pool, standing.executor);
        let (free, asked) = (pool.open(), standing.slots);
        if free < i64::from(asked) {
            let (name, total) = (pool.name.clone(), pool.row.as_ref().map(|row| row.slots));
            let deferred =
                if pool.row.as_ref().is_some_and(|row| row.include_deferred) { pool.deferred } else { 0 };
            let never = total.is_some_and(|total| i64::from(total) < i64::from(asked));
            let unreadable = self.unreadable_pools.get(&(pool.tenant, pool.name.clone()));
            let (says, frees) = match total {
                None if let Some(reason) = unreadable => (
                    format!("pool `{name}` can't be read: {reason}"),
                    "the pool is set anew, or what is wrong with it is mended and the service is restarted"
                        .to_owned(),
                ),
                None => (format!("there is no pool `{name}`"), "a pool of that name is made".to_owned()),
                Some(total) if never => (
                    format!("it asks for {asked}, and pool `{name}` has {total} slots in all"),
                    "the pool is made larger".to_owned(),
                ),
                Some(total) => (
                    format!(
                        "it asks for {asked} of the {total} slots of pool `{name}`, of which {free} are free"
                    ),
                    "tasks in the pool end, or it is made larger".to_owned(),
                ),
            };
            holds.push(Hold {
                limit: Limit::Pool { name, total, used: pool.used, deferred, free, asked },
                says,
                frees,
            });
        }
        let (slots, used, asked) = (executor.slots, executor.used, standing.members);
        if slots.is_none_or(|slots| slots.saturating_sub(used) < asked) {
            let name = executor.name.clone();
            let (says, frees) = match slots {
                None => {
                    (format!("executor `{name}` isn't there"), "an executor of that name starts".to_owned())
                }
                Some(slots) => (
                    format!("executor `{name}` runs {used} of at most {slots}, and the task needs {asked}"),
                    "tasks there end, or it gets more room".to_owned(),
                ),
            };
            holds.push(Hold { limit: Limit::Executor { name, slots, used, asked }, says, frees });
        }
        holds.extend(hold_of_workers(&standing));
        let (of_quotas, kept_from) = self.hold_of_quotas(standing.tenant, pending.at);
        holds.extend(of_quotas);
        let ahead = standing.ahead;
        let from = kept_from.map(|at| format!("; from {at} on what becomes free is kept for it"));
        holds.push(Hold {
            limit: Limit::Queue { ahead, kept_from },
            says: format!("{ahead} of the same tenant go before it{}", from.unwrap_or_default()),
            frees: "it comes first among those that fit".to_owned(),
        });
    }
}

pub(crate) fn max_active(active: u32, limit: u32, all_runs: bool) -> Hold {
    let field = if all_runs { "max_active" } else { "max_active_per_run" };
    Hold {
        limit: Limit::MaxActive { active, limit, all_runs },
        says: format!("{active} of at most {limit} instances of the task are active"),
        frees: format!("one of them ends, or the task's `{field}` is raised"),
    }
}

fn hold_of_workers(standing: &Standing<'_>) -> Option<Hold> {
    let Standing { tenant, needs, members, .. } = *standing;
    let (name, fleet) = (standing.executor.name.clone(), standing.executor.fleet.as_ref()?);
    if fleet.choose(tenant, needs, members).is_some() {
        return None;
    }
    let Candidates { workers, serving, large_enough, open } = fleet.candidates(tenant, needs, members);
    let queue = needs.queue().to_owned();
    let (says, frees) = if workers == 0 {
        (format!("executor `{name}` has no worker"), "a worker starts: `updraft worker`".to_owned())
    } else if serving == 0 {
        let says =
            format!("none of the {workers} workers of `{name}` serves queue `{queue}` for this tenant");
        (says, format!("a worker that serves queue `{queue}` starts"))
    } else if large_enough == 0 {
        let says = format!("none of the {serving} workers that serve queue `{queue}` is large enough for it");
        (says, "a larger worker starts, or the task's `resources` are made smaller".to_owned())
    } else if open == 0 {
        let says = format!("all {large_enough} workers that could hold it are being drained");
        (says, "another worker starts".to_owned())
    } else {
        (format!("all {open} workers that could hold it are busy"), "tasks there end".to_owned())
    };
    let limit = Limit::Workers { executor: name, queue, workers, serving, large_enough, open };
    Some(Hold { limit, says, frees })
}

fn hold_of_dag(dag: &DagState, holds: &mut Vec<Hold>) {
    if dag.suspended {
        holds.push(Hold {
            limit: Limit::TenantSuspended,
            says: "the tenant is suspended".to_owned(),
            frees: "an administrator of the platform resumes it".to_owned(),
        });
    }
    if dag.row.paused {
        holds.push(Hold {
            limit: Limit::DagPaused,
            says: "the DAG is paused".to_owned(),
            frees: "someone unpauses it".to_owned(),
        });
    }
    if dag.row.stale {
        holds.push(Hold {
            limit: Limit::DagStale,
            says: "the newest bundle doesn't have the DAG".to_owned(),
            frees: "a bundle that has it is activated, or the run is marked as success or failed".to_owned(),
        });
    }
}

/// The hold of everything that is quarantined.
pub(crate) fn quarantined(reason: &str, whole_dag: bool) -> Hold {
    let what = if whole_dag { "DAG" } else { "run" };
    let command = if whole_dag { "updraft dags release" } else { "updraft runs release" };
    Hold {
        limit: Limit::Quarantined { reason: reason.to_owned(), whole_dag },
        says: format!("the {what} is quarantined: {reason}"),
        frees: format!("what is wrong with it is mended, and it is released with `{command}`"),
    }
}

fn question() -> Hold {
    Hold {
        limit: Limit::Question,
        says: "a question about it isn't answered yet".to_owned(),
        frees: "the answer comes".to_owned(),
    }
}

/// `reason` is what a deferred task waits for, in the words of its operator.
fn until(state: TaskState, at: Timestamp, reason: Option<&str>) -> Hold {
    let what = match state {
        TaskState::UpForRetry => "its next try is due",
        TaskState::UpForReschedule => "it is called again",
        _ => "it is looked at again",
    };
    let (says, frees) = match reason {
        Some(reason) => (format!("{reason}; {what} at {at}"), "that happens, or that instant comes"),
        None => (format!("{what} at {at}"), "that instant comes"),
    };
    Hold { limit: Limit::Until { at }, says, frees: frees.to_owned() }
}

/// Those of the tasks that have unfinished instances which count for the unit.
fn unfinished(run: &Run, task: TaskIdx, unit: u32, before: &[TaskIdx]) -> Vec<Unfinished> {
    let mut found = Vec::new();
    for up in before {
        let instances = run.instances_above(task, unit, *up);
        let total = instances.len() as u32;
        let open = instances.filter(|ti| !run.tis[*ti as usize].state.is_finished()).count() as u32;
        if open > 0 {
            found.push(Unfinished { task: run.plan.model(*up).task_id.clone(), open, total });
        }
        if found.len() == NAMES_MAX {
            break;
        }
    }
    found
}

fn names(tasks: &[Unfinished]) -> String {
    let shown = tasks.iter().map(|t| match t.total {
        1 => format!("`{}`", t.task),
        total => format!("`{}` ({} of {total} open)", t.task, t.open),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn list(tasks: &[TaskId]) -> String {
    match tasks {
        [] => "what it depends on".to_owned(),
        tasks => tasks.iter().map(|task| format!("`{task}`")).collect::<Vec<_>>().join(", "),
    }
}
