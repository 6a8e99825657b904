//! A fleet: workers of one executor, what each can hold, and which dispatch is on which.
//!
//! All members of a dispatch go to one worker. What a dispatch takes stays taken until its end is confirmed or its worker
//! is lost. A worker that is known from stored placements only (after a restart, until it is heard) takes nothing new.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DispatchId, TenantId, WorkerId},
    model::Task,
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};

use crate::figures::WorkerFigures;

mod life;

pub(crate) use life::Lost;

/// The queue of tasks and workers that name none.
pub const DEFAULT_QUEUE: &str = "default";

/// A worker that wasn't heard for this long, more than two of its heartbeats, is counted as silent.
const SILENT: Span = Span::seconds(5);

/// What a worker offers, as it was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSpec {
    /// Which worker.
    pub worker: WorkerId,
    /// How many members may run there at once.
    pub slots: u32,
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// GPUs by model.
    #[serde(default)]
    pub gpus: BTreeMap<String, u32>,
    /// Counters of its own.
    #[serde(default)]
    pub custom: BTreeMap<String, u64>,
    /// The queues that it serves; none means [`DEFAULT_QUEUE`].
    #[serde(default)]
    pub queues: BTreeSet<String>,
    /// The tenants whose attempts it may run; none means all.
    #[serde(default)]
    pub tenants: Option<BTreeSet<TenantId>>,
}

/// What one member of a dispatch needs of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Needs {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// GPUs, and their model if it matters.
    pub gpu: Option<(u32, Option<String>)>,
    /// Counters.
    pub custom: BTreeMap<String, u64>,
    /// The queue; none means [`DEFAULT_QUEUE`].
    pub queue: Option<String>,
}

impl Needs {
    /// What a task asks for.
    pub(crate) fn of(task: &Task) -> Self {
        let resources = &task.resources;
        Self {
            cpu_milli: resources.cpu_milli,
            memory_bytes: resources.memory_bytes,
            gpu: resources.gpu.as_ref().map(|gpu| (gpu.count, gpu.model.clone())),
            custom: resources.custom.clone(),
            queue: task.queue.clone(),
        }
    }

    /// The queue by name.
    pub fn queue(&self) -> &str {
        self.queue.as_deref().unwrap_or(DEFAULT_QUEUE)
    }
}

/// A dispatch that a worker holds, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldThere {
    /// The dispatch.
    pub id: DispatchId,
    /// How many members it has.
    pub members: u32,
    /// How far it is.
    pub stage: Stage,
}

/// How far a dispatch is on its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was received.
    Taken,
    /// One of its members started, and not all have ended.
    Started,
    /// All of its members have ended, and that isn't confirmed.
    Ended,
}

/// What happens to a fleet.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerNews {
    /// Workers can be heard from now on: silence counts.
    Hearing,
    /// They can't: silence says nothing.
    Deaf,
    /// A worker is there, or back, with what it offers.
    Joined(WorkerSpec),
    /// A worker's heartbeat. One that hasn't joined is ignored.
    Heard {
        /// Which worker.
        worker: WorkerId,
        /// All that it holds.
        held: Vec<HeldThere>,
        /// What was let out before this, by the engine's clock, had reached the worker when it said so.
        as_of: Timestamp,
        /// Whether it takes nothing new.
        draining: bool,
    },
    /// A worker said goodbye.
    Left(WorkerId),
}

/// What a worker has given away.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) slots: u32,
    cpu_milli: u64,
    memory_bytes: u64,
    gpus: BTreeMap<String, u32>,
    custom: BTreeMap<String, u64>,
}

/// What one dispatch takes.
#[derive(Debug)]
struct Share {
    needs: Needs,
    members: u32,
    gpu_model: Option<String>,
}

/// That a request fits, and how.
#[derive(Debug)]
struct Fit {
    gpu_model: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Worker {
    /// None until it is heard after a restart.
    pub(crate) spec: Option<WorkerSpec>,
    pub(crate) used: Used,
    placed: BTreeMap<DispatchId, Share>,
    heard: Timestamp,
    draining: bool,
    /// It is lost, and something that it held isn't dealt with yet.
    lost: bool,
}

impl Worker {
    fn new(heard: Timestamp) -> Self {
        let (used, placed) = (Used::default(), BTreeMap::new());
        Self { spec: None, used, placed, heard, draining: false, lost: false }
    }

    fn serves(&self, tenant: TenantId, needs: &Needs) -> bool {
        self.spec.as_ref().is_some_and(|spec| {
            let queue = if spec.queues.is_empty() {
                needs.queue() == DEFAULT_QUEUE
            } else {
                spec.queues.contains(needs.queue())
            };
            queue && spec.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant))
        })
    }

    /// What the request would get, if all of it fits beside what is used.
    fn fits(&self, needs: &Needs, members: u32, used: &Used) -> Option<Fit> {
        let spec = self.spec.as_ref()?;
        let times = u64::from(members);
        let room =
            |total: u64, used: u64, asked: u64| total.saturating_sub(used) >= asked.saturating_mul(times);
        let custom = |(name, asked): (&String, &u64)| {
            let total = spec.custom.get(name).copied().unwrap_or(0);
            room(total, used.custom.get(name).copied().unwrap_or(0), *asked)
        };
        let whole = spec.slots.saturating_sub(used.slots) >= members
            && room(spec.cpu_milli, used.cpu_milli, needs.cpu_milli)
            && room(spec.memory_bytes, used.memory_bytes, needs.memory_bytes)
            && needs.custom.iter().all(custom);
        if !whole {
            return None;
        }
        if needs.gpu.is_none() {
            return Some(Fit { gpu_model: None });
        }
        self.gpu_for(needs, members, used).map(|model| Fit { gpu_model: Some(model) })
    }

    /// The model of GPUs that the request would get.
    fn gpu_for(&self, needs: &Needs, members: u32, used: &Used) -> Option<String> {
        let (count, wanted) = needs.gpu.as_ref()?;
        let asked = u64::from(*count).saturating_mul(u64::from(members));
        let has = |(model, total): &(&String, &u32)| {
            let taken = used.gpus.get(*model).copied().unwrap_or(0);
            wanted.as_ref().is_none_or(|wanted| wanted == *model)
                && u64::from(total.saturating_sub(taken)) >= asked
        };
        self.spec.as_ref()?.gpus.iter().find(has).map(|(model, _)| model.clone())
    }

    /// GPUs of what was placed before it was known what the worker has: those that must be of a model first.
    fn count_gpus(&mut self) {
        for named in [true, false] {
            let open = |share: &Share| {
                share.gpu_model.is_none()
                    && share.needs.gpu.as_ref().is_some_and(|(_, model)| model.is_some() == named)
            };
            let ids: Vec<DispatchId> =
                self.placed.iter().filter(|(_, share)| open(share)).map(|(id, _)| *id).collect();
            for id in ids {
                // It is given back and taken again, now with a model. It may have none if the worker offers less now.
                let Some(mut share) = self.placed.remove(&id) else { continue };
                self.count(&share, false);
                share.gpu_model = self.gpu_for(&share.needs, share.members, &self.used);
                self.count(&share, true);
                self.placed.insert(id, share);
            }
        }
    }

    fn take(&mut self, id: DispatchId, needs: Needs, members: u32) {
        let gpu_model = self.fits(&needs, members, &self.used).and_then(|fit| fit.gpu_model);
        let share = Share { needs, members, gpu_model };
        self.count(&share, true);
        self.placed.insert(id, share);
    }

    fn give_back(&mut self, id: DispatchId) -> bool {
        let Some(share) = self.placed.remove(&id) else { return false };
        self.count(&share, false);
        true
    }

    fn count(&mut self, share: &Share, taken: bool) {
        let Share { needs, members, gpu_model } = share;
        let change = |value: &mut u64, by: u64| {
            let by = by.saturating_mul(u64::from(*members));
            *value = if taken { value.saturating_add(by) } else { value.saturating_sub(by) };
        };
        let used = &mut self.used;
        used.slots = if taken { used.slots + members } else { used.slots.saturating_sub(*members) };
        change(&mut used.cpu_milli, needs.cpu_milli);
        change(&mut used.memory_bytes, needs.memory_bytes);
        for (name, asked) in &needs.custom {
            change(used.custom.entry(name.clone()).or_default(), *asked);
        }
        if let (Some((count, _)), Some(model)) = (&needs.gpu, gpu_model) {
            let mut value = u64::from(used.gpus.get(model).copied().unwrap_or(0));
            change(&mut value, u64::from(*count));
            used.gpus.insert(model.clone(), u32::try_from(value).unwrap_or(u32::MAX));
        }
    }
}

/// Workers of one executor.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    /// Where every dispatch is, also those of workers that are lost.
    places: BTreeMap<DispatchId, WorkerId>,
    /// Whether there was news of it: until then the executor may as well be one without workers.
    known: bool,
    /// Whether workers can be heard, and since when.
    hearing: bool,
    counting_from: Timestamp,
    /// When all that are there have been heard, counted from when that was possible for the first time; none before.
    met_at: Option<Timestamp>,
    /// When the leases are looked at next.
    armed: Option<Timestamp>,
    /// Grows when room may have come: what didn't fit before may fit now.
    pub(crate) generation: u64,
}

/// How many workers could hold something, for an explanation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// That are there.
    pub(crate) workers: u32,
    /// That serve the queue and the tenant.
    pub(crate) serving: u32,
    /// Of these, large enough when empty.
    pub(crate) large_enough: u32,
    /// Of these, taking something new.
    pub(crate) open: u32,
}

impl Fleet {
    /// The worker for a request: of those that can hold it, the one with the smallest part of its slots taken.
    pub(crate) fn choose(&self, tenant: TenantId, needs: &Needs, members: u32) -> Option<WorkerId> {
        let load = |worker: &Worker| {
            let slots = u64::from(worker.spec.as_ref().map_or(1, |spec| spec.slots).max(1));
            u64::from(worker.used.slots) * 1_000_000 / slots
        };
        let fitting = self.workers.iter().filter(|(_, worker)| {
            !worker.draining
                && worker.serves(tenant, needs)
                && worker.fits(needs, members, &worker.used).is_some()
        });
        fitting.min_by_key(|(id, worker)| (load(worker), **id)).map(|(id, _)| *id)
    }

    pub(crate) fn candidates(&self, tenant: TenantId, needs: &Needs, members: u32) -> Candidates {
        let mut found = Candidates::default();
        for worker in self.workers.values().filter(|worker| worker.spec.is_some()) {
            found.workers += 1;
            if worker.serves(tenant, needs) {
                found.serving += 1;
                if worker.fits(needs, members, &Used::default()).is_some() {
                    found.large_enough += 1;
                    found.open += u32::from(!worker.draining);
                }
            }
        }
        found
    }

    /// Puts a dispatch on a worker. One that isn't known is counted from now on.
    pub(crate) fn place(
        &mut self,
        id: DispatchId,
        worker: WorkerId,
        needs: Needs,
        members: u32,
        now: Timestamp,
    ) {
        self.places.insert(id, worker);
        self.workers.entry(worker).or_insert_with(|| Worker::new(now)).take(id, needs, members);
    }

    /// Takes a dispatch off its worker.
    pub(crate) fn unplace(&mut self, id: DispatchId) {
        let Some(worker) = self.places.remove(&id) else { return };
        let Some(known) = self.workers.get_mut(&worker) else { return };
        if known.give_back(id) {
            self.generation += 1;
        }
        if known.lost && known.placed.is_empty() {
            self.workers.remove(&worker);
        }
    }

    /// Whether all workers that are there must have been heard since the engine was built.
    pub(crate) fn has_met(&self, now: Timestamp) -> bool {
        self.met_at.is_some_and(|at| at <= now)
    }

    /// Whether a worker is there and not lost.
    pub(crate) fn is_there(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|known| !known.lost)
    }

    /// Members that are placed.
    pub(crate) fn members_placed(&self) -> u32 {
        self.workers
            .values()
            .map(|worker| worker.placed.values().map(|share| share.members).sum::<u32>())
            .sum()
    }

    /// Slots of all workers that are known.
    pub(crate) fn slots(&self) -> u32 {
        let specs = self.workers.values().filter_map(|worker| worker.spec.as_ref());
        specs.fold(0, |sum: u32, spec| sum.saturating_add(spec.slots))
    }

    /// Counts its workers.
    pub(crate) fn count(&self, now: Timestamp, figures: &mut WorkerFigures) {
        for worker in self.workers.values().filter(|worker| !worker.lost) {
            let state = match &worker.spec {
                None => &mut figures.unknown,
                Some(_) if now.since(worker.heard.max(self.counting_from)) > SILENT => &mut figures.silent,
                Some(_) if worker.draining => &mut figures.draining,
                Some(_) => &mut figures.open,
            };
            *state += 1;
            figures.used += worker.used.slots;
        }
        figures.slots = figures.slots.saturating_add(self.slots());
    }

    pub(crate) fn place_of(&self, id: DispatchId) -> Option<WorkerId> {
        self.places.get(&id).copied()
    }

    pub(crate) fn worker(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    /// Those that aren't lost.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter().filter(|(_, worker)| !worker.lost)
    }

    /// The worker is there with what it offers. What it holds by what is stored stays counted.
    fn join(&mut self, spec: WorkerSpec, now: Timestamp) {
        let worker = self.workers.entry(spec.worker).or_insert_with(|| Worker::new(now));
        (worker.heard, worker.spec) = (now, Some(spec));
        if std::mem::replace(&mut worker.lost, false) {
            worker.draining = false;
        }
        worker.count_gpus();
        self.generation += 1;
    }

    /// A worker is gone: nothing goes there any more. What it held stays counted until that is dealt with: it may be back
    /// before. None if it wasn't there.
    fn lose(&mut self, worker: WorkerId) -> Option<Vec<DispatchId>> {
        let gone = self.workers.get_mut(&worker).filter(|worker| !worker.lost)?;
        (gone.lost, gone.spec) = (true, None);
        let held: Vec<DispatchId> = gone.placed.keys().copied().collect();
        if held.is_empty() {
            self.workers.remove(&worker);
        }
        Some(held)
    }

    /// Workers that have been silent for as long as a lease, and when to look again.
    fn silent(&self, now: Timestamp, lease: Span) -> (Vec<WorkerId>, Option<Timestamp>) {
        if !self.hearing {
            return (Vec::new(), None);
        }
        let until = |worker: &Worker| worker.heard.max(self.counting_from).after(lease);
        let silent = self.workers().filter(|(_, worker)| until(worker) <= now).map(|(id, _)| *id);
        let next = self.workers().map(|(_, worker)| until(worker)).filter(|at| *at > now).min();
        (silent.collect(), next)
    }
}
