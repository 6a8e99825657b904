//! People with requests.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{BundleId, DagId, PoolName, RunName, TaskId, TenantId},
    model::{Dag, When},
    time::{Span, Timestamp},
};
use engine::{
    command::{
        ActivatedDag, Backfill, BackfillChange, Clear, Command, Reprocess, Response, Selection, Trigger,
    },
    quota::Limits,
    rows::QuotaNode,
    sharing::{Quota, Quotas, Weight},
    state::{RunState, TaskState},
};

use crate::{
    graphs::{ASSETS, EXECUTORS, POOLS},
    world::World,
};

impl World {
    /// Makes the newest editions of a tenant's DAGs the active ones.
    pub(crate) fn activate(&mut self, tenant: TenantId) {
        let dags: Vec<ActivatedDag> = self
            .editions
            .iter()
            .filter(|((owner, _), _)| *owner == tenant)
            .map(|((_, dag_id), (version, _))| ActivatedDag {
                bundle: None,
                dag_id: dag_id.clone(),
                version: version.clone(),
                paused_upon_creation: false,
            })
            .collect();
        let bundle = BundleId(Arc::from(format!("b{}", self.next_version)));
        self.request(tenant, Command::ActivateBundle { bundle, dags });
    }

    /// What lets everything that can end come to its end, and nothing new begin.
    pub(crate) fn calm_requests(&mut self, tenant: TenantId) {
        for name in POOLS {
            let name = PoolName::parse(name).unwrap();
            self.request(tenant, Command::SetPool { name, slots: 12, include_deferred: false });
        }
        // Also what is asked for and not set yet keeps somebody out.
        let mut waits = self.store.waiting.values().filter(|row| row.tenant == tenant);
        let will_be_set = waits.any(|row| matches!(row.command, Command::SetQuota { .. }));
        if will_be_set || self.store.quotas.contains_key(&QuotaNode::Tenant(tenant)) {
            // The pool goes on to decide, and keeps nobody out for ever.
            let quotas = Quotas::new();
            self.request(
                tenant,
                Command::SetQuota { cohort: None, weight: Weight::ONE, quotas, limits: Limits::default() },
            );
        }
        self.request(tenant, Command::DeleteCohort { name: "team".into() });
        for id in 1..=self.store.backfills.keys().filter(|(owner, _)| *owner == tenant).count() as i64 {
            self.request(tenant, Command::ChangeBackfill { id, change: BackfillChange::Unpause });
        }
        // Runs of a DAG that the newest bundle doesn't have stand still, so all of them come back, without a schedule.
        let stored = self.store.dags.values().filter(|row| row.tenant == tenant);
        let newest = self.editions.iter().filter(|((owner, _), _)| *owner == tenant);
        let models: BTreeMap<DagId, Arc<Dag>> = stored
            .map(|row| (row.dag_id.clone(), self.store.versions[&row.version].clone()))
            .chain(newest.map(|((_, dag_id), (_, dag))| (dag_id.clone(), dag.clone())))
            .collect();
        let mut dags = Vec::new();
        for (dag_id, model) in models {
            let mut model = Dag::clone(&model);
            model.schedule.when = When::Never;
            self.next_version += 1;
            let version = crate::models::version(self.next_version);
            self.store.versions.insert(version.clone(), Arc::new(model));
            dags.push(ActivatedDag { dag_id, version, paused_upon_creation: false, bundle: None });
        }
        self.request(tenant, Command::ActivateBundle { bundle: BundleId(Arc::from("calm")), dags });
        for n in 0..3 {
            let dag_id = DagId::parse(&format!("d{n}")).unwrap();
            self.request(tenant, Command::PauseDag { dag_id, paused: false });
        }
    }

    pub(crate) fn random_trigger(&mut self, tenant: TenantId, dag_id: &DagId, now: Timestamp) -> Trigger {
        let minute = 60_000_000;
        let date = Timestamp(now.0 / minute * minute).before(Span::seconds(60 * self.rng.within(0, 5)));
        let mut trigger = Trigger {
            dag_id: dag_id.clone(),
            run_name: None,
            logical_date: self.rng.mill(300).then_some(date),
            run_after: None,
            conf: serde_json::Map::new(),
            note: None,
            chain_depth: 0,
        };
        if self.rng.mill(300) {
            trigger.run_after =
                Some(if self.rng.mill(500) { date } else { now.after(Span(self.rng.micros(60))) });
        }
        trigger.run_name = match self.rng.below(8) {
            0 => Some(RunName::parse(self.rng.word(&["r1", "r2", "r3"])).unwrap()),
            1 => self.known_run(tenant, dag_id),
            2 if self.rng.mill(200) => Some(dags::run_name::run_name(
                engine::rows::RunType::Scheduled,
                Some(date),
                date.after(Span(minute)),
            )),
            _ => None,
        };
        trigger
    }

    fn known_run(&mut self, tenant: TenantId, dag_id: &DagId) -> Option<RunName> {
        let of = |row: &&engine::rows::RunRow| row.tenant == tenant && row.dag_id == *dag_id;
        let names: Vec<RunName> =
            self.store.runs.values().filter(of).map(|row| row.run_name.clone()).collect();
        self.rng.any(&names).cloned()
    }

    fn random_tasks(&mut self, tenant: TenantId, dag_id: &DagId) -> Vec<(TaskId, Option<i32>)> {
        let Some((_, dag)) = self.editions.get(&(tenant, dag_id.clone())).cloned() else { return Vec::new() };
        let mut tasks = Vec::new();
        for _ in 0..self.rng.below(3) {
            let index = self.rng.mill(200).then(|| self.rng.within(-1, 2) as i32);
            tasks.push((self.rng.pick(&dag.tasks).task_id.clone(), index));
        }
        tasks
    }

    fn selection(&mut self, tenant: TenantId, dag_id: &DagId) -> Option<Selection> {
        Some(Selection {
            dag_id: dag_id.clone(),
            run_name: self.known_run(tenant, dag_id)?,
            tasks: self.random_tasks(tenant, dag_id),
            upstream: self.rng.mill(200),
            downstream: self.rng.mill(400),
        })
    }

    /// An answer to something that a task asks, or asked.
    fn random_response(&mut self, tenant: TenantId) -> Option<Command> {
        let asked = self.store.inputs.values().filter(|row| row.tenant == tenant);
        let asked: Vec<_> = asked.map(|row| (row.run, row.task.clone(), row.map_index)).collect();
        let (run, task_id, map_index) = self.rng.any(&asked)?.clone();
        let run = self.store.runs.get(&run)?;
        Some(Command::Respond(Response {
            dag_id: run.dag_id.clone(),
            run_name: run.run_name.clone(),
            task_id,
            map_index,
            chosen_options: vec![self.rng.word(&["yes", "no", "perhaps"]).to_owned()],
            params_input: serde_json::Map::new(),
        }))
    }

    /// Somebody sets a quota, or takes it back.
    fn random_quota(&mut self) -> Command {
        let quotas = self.random_quotas();
        let cohort = || Arc::from("team");
        match self.rng.below(8) {
            0 => Command::DeleteQuota {},
            1 => Command::DeleteCohort { name: cohort() },
            2 | 3 => Command::SetCohort { name: cohort(), parent: None, weight: Weight::ONE, quotas },
            _ => {
                let cohort = self.rng.mill(300).then(cohort);
                let weight = Weight::whole(self.rng.within(0, 3) as u32);
                Command::SetQuota { cohort, weight, quotas, limits: self.random_limits() }
            }
        }
    }

    fn random_limits(&mut self) -> Limits {
        let mut some = |of: u32| self.rng.mill(of).then(|| self.rng.within(0, 4) as u32);
        let (tasks, tasks_per_user, queued) = (some(200), some(100), some(100));
        let hold_after_s = some(200).map(|n| n * 20);
        Limits { tasks, tasks_per_user, queued, hold_after_s, ..Limits::default() }
    }

    fn random_quotas(&mut self) -> Quotas {
        let mut quotas = Quotas::new();
        for name in EXECUTORS {
            let mut quota = Quota { nominal: self.rng.within(0, 3), ..Quota::default() };
            quota.borrow = self.rng.mill(300).then(|| self.rng.within(0, 3));
            quota.lend = self.rng.mill(300).then(|| self.rng.within(0, 3));
            if self.rng.mill(600) {
                quotas.insert(name.into(), BTreeMap::from([("members".into(), quota)]));
            }
        }
        quotas
    }

    /// A request that somebody may send.
    pub(crate) fn random_request(&mut self) {
        let tenant = *self.rng.pick(&self.tenants.clone());
        let dag_id = DagId::parse(&format!("d{}", self.rng.below(3))).unwrap();
        let now = Timestamp(self.clock);
        let command = match self.rng.below(31) {
            0..=8 => Some(Command::Trigger(self.random_trigger(tenant, &dag_id, now))),
            9..=12 => self.selection(tenant, &dag_id).map(|select| {
                Command::Clear(Clear {
                    select,
                    only_failed: self.rng.mill(300),
                    only_running: self.rng.mill(100),
                    run_on_latest_version: self.rng.mill(300),
                })
            }),
            13 | 14 => {
                let state = *self.rng.pick(&[TaskState::Success, TaskState::Failed, TaskState::Skipped]);
                self.selection(tenant, &dag_id).map(|select| Command::MarkTasks { select, state })
            }
            15 => {
                let state = *self.rng.pick(&[RunState::Success, RunState::Failed, RunState::Queued]);
                self.known_run(tenant, &dag_id).map(|run_name| Command::MarkRun { dag_id, run_name, state })
            }
            16 | 17 => Some(Command::PauseDag { dag_id, paused: self.rng.mill(400) }),
            18 => {
                let name = PoolName::parse(self.rng.word(&POOLS)).unwrap();
                let include_deferred = self.rng.mill(300);
                Some(if self.rng.mill(150) {
                    Command::DeletePool { name }
                } else {
                    Command::SetPool { name, slots: self.rng.within(-1, 6) as i32, include_deferred }
                })
            }
            19 => {
                let asset = (*self.rng.pick(&ASSETS)).to_owned();
                Some(Command::AssetEvent { asset, extra: serde_json::Map::new() })
            }
            20 => Some(Command::Backfill(Backfill {
                dag_id,
                from: now.before(Span::seconds(self.rng.within(0, 150))),
                to: now.before(Span::seconds(self.rng.within(0, 100))),
                reprocess: *self.rng.pick(&[Reprocess::None, Reprocess::Failed, Reprocess::Completed]),
                reverse: self.rng.mill(300),
                max_active_runs: self.rng.within(0, 3) as u32,
                conf: serde_json::Map::new(),
            })),
            21 => {
                let change =
                    *self.rng.pick(&[BackfillChange::Pause, BackfillChange::Unpause, BackfillChange::Cancel]);
                Some(Command::ChangeBackfill { id: self.rng.within(1, 2), change })
            }
            22 => self.known_run(tenant, &dag_id).map(|run_name| Command::DeleteRun { dag_id, run_name }),
            23 if self.rng.mill(300) => Some(Command::DeleteDag { dag_id }),
            23 | 24 => {
                self.edit(tenant, dag_id.as_str());
                if self.rng.mill(700) {
                    self.activate(tenant);
                }
                None
            }
            25..=27 => self.random_response(tenant),
            28 | 29 if self.with_quotas => Some(self.random_quota()),
            _ => {
                if self.rng.mill(200) {
                    self.editions.remove(&(tenant, dag_id));
                }
                self.activate(tenant);
                None
            }
        };
        if let Some(command) = command {
            self.request(tenant, command);
        }
    }
}
