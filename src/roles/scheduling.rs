//! Owning the shard: everything that lives as long as one term, put together and taken apart again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use anyhow::Context as _;
use dags::{
    ids::{ExecutorName, ShardId, TenantId},
    installation::Installation,
    time::Span,
};
use engine::driver::Stop as Halt;
use executor::{
    kubernetes,
    local::{self, LocalExecutor},
    noop::NoopExecutor,
};
use migrations::{
    Db,
    seal::{MasterKey, Sealer},
    store::log::Log,
    wake::Topic,
};
use plugins::{
    script::{Language, Options as ScriptOptions, Policy as ScriptPolicy, ScriptPool},
    token::Keys,
};
use scheduler::{
    clock,
    conflicts::Conflicts,
    contain::Panic,
    delivery::Deliverer,
    deploy::Deployments,
    executors::{Answers, Executors, Kind as ExecutorKind, MockExecutor},
    facts::DbFacts,
    hints,
    lease::{Claim, Lost, Term},
    objects::Objects,
    retention::Retention,
    shell::{self, Ended, Parts, Status},
    watch::{FolderWatch, Found, Settings as WatchSettings},
};
use telemetry::Recorder;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Stop, objects::Current, script_program};
use crate::{
    fleet::{self, Asked, FleetSettings, TaskApi},
    monitoring::{Owning, Process, Standing, Waits, error_chain},
    settings::{Kind, Retention as KeptFor, Settings, clusters::ClusterSettings, place::Chosen},
};

/// Reports that may wait for the scheduler.
const REPORTS_MAX: usize = 16_384;
/// The pause after another owner was met, or an executor was lost.
const FENCED: Span = Span::seconds(1);
/// The first and the longest pause after what is stored couldn't be read.
pub(super) const UNREAD: (Span, Span) = (Span::millis(100), Span::seconds(10));
/// How long a folder must be quiet before it is looked at for its author, who waits for it.
const TRIAL_QUIET: Span = Span::millis(20);
/// How long the supervisor may take to say whether it ends.
const RETIRE_MAX: Span = Span::seconds(3);

/// What a process needs to own the shard, again and again.
pub(super) struct Scheduling {
    pub(super) db: Db,
    pub(super) sealer: Sealer,
    pub(super) objects: Objects,
    /// The API's bells, if it is in this process; otherwise hints of the database ring them.
    pub(super) wake: Arc<Notify>,
    pub(super) settled: Arc<Notify>,
    /// The local executor of the present term, for the logs of what runs.
    pub(super) current: Current,
    pub(super) claim: Claim,
    pub(super) config: engine::Config,
    executors: BTreeMap<ExecutorName, Chosen>,
    /// What DAGs may ask for.
    installation: Installation,
    fleet: Option<FleetSettings>,
    clusters: BTreeMap<ExecutorName, ClusterSettings>,
    /// Where workers and pods ask, if there may be any.
    asked: Option<Asked>,
    /// Proves to workers and by them what was sent to whom.
    keys: Keys,
    supervisor: PathBuf,
    dags: Option<PathBuf>,
    drain: Span,
    script_program: Option<PathBuf>,
    scripts: Option<ScriptPool>,
    data_folders: Vec<PathBuf>,
    retention: KeptFor,
    /// What can be seen of it.
    pub(super) owning: Owning,
    /// Whether the database is still waited for.
    pub(super) waits: Waits,
    /// What is different for an author who tries DAGs out.
    pub(super) trial: Option<Trial>,
}

/// A node that goes with its process.
pub(super) struct Trial {
    /// Told what is found in the folder of DAGs.
    pub(super) found: mpsc::UnboundedSender<Result<Found, scheduler::watch::Error>>,
    /// Who knows what needn't run.
    pub(super) answers: Arc<dyn Answers>,
}

/// How a term ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// The process is to end, and the shard was given back.
    Asked,
    /// The lease is gone.
    Lost(Lost),
    /// The engine must be built again, after this pause.
    Stopped(Span),
    /// What is stored couldn't be read, because of that. The shard was given back, if that was possible.
    Unread(String),
}

impl Scheduling {
    /// Takes from the settings what a term needs. `drain` is how long a drain waits if the settings don't say; `alone` that no
    /// other process may own the shard.
    pub(super) fn new(
        settings: &Settings,
        db: Db,
        key: MasterKey,
        owner: String,
        drain: Span,
        alone: bool,
    ) -> anyhow::Result<Self> {
        let script_program = script_program();
        let scripts = script_program.clone().map(|program| {
            let options = ScriptOptions { policy: ScriptPolicy::BestEffort, ..ScriptOptions::new(program) };
            ScriptPool::new(options, Language::of(&plugins::catalog()))
        });
        let dags = settings.dags.folder.as_ref().map(|folder| {
            folder.canonicalize().with_context(|| {
                format!("failed to find the folder of DAGs (`dags.folder`), {}", folder.display())
            })
        });
        let objects = settings.objects_folder()?;
        let objects = Objects::open(&objects).with_context(|| {
            format!("failed to open the folder of objects (`objects.folder`), {}", objects.display())
        })?;
        let fleet = settings.fleet()?;
        Ok(Self {
            owning: Owning::new(fleet.is_some(), alone),
            waits: Waits::for_database(),
            trial: None,
            claim: Claim { db: db.clone(), shard: ShardId::DEFAULT, owner, ttl: settings.scheduler.lease() },
            db,
            keys: fleet::keys(&key),
            sealer: Sealer::new(key),
            objects,
            wake: Arc::default(),
            settled: Arc::default(),
            current: Current::default(),
            config: settings.scheduler.engine(),
            executors: settings.executors()?,
            installation: settings.installation()?,
            fleet,
            clusters: settings.clusters()?,
            asked: settings.asked()?,
            supervisor: settings.data()?.join("supervisor"),
            dags: dags.transpose()?,
            drain: settings.scheduler.drain_s.map_or(drain, |seconds| Span::seconds(seconds.into())),
            script_program,
            scripts,
            data_folders: settings.data_folders()?,
            retention: settings.retention.clone(),
        })
    }

    /// Owns the shard for one term. Without an error the shard was given back, or somebody else has it.
    pub(super) async fn serve(
        &self,
        term: Term,
        conflicts: &mut Conflicts,
        status: &watch::Sender<Status>,
        stop: &Stop,
    ) -> anyhow::Result<Over> {
        let (lease, scope, fence) = (term.lease(), term.journal.scope(), term.journal.fence());
        let alerted = Arc::new(Notify::new());
        tracing::info!(owner = self.claim.owner, epoch = fence.epoch, "the shard is ours");
        self.owning.standing.send_replace(Standing::Owner(fence.epoch));
        let end = stop.cancel.child_token();
        let (reports, received) = mpsc::channel(REPORTS_MAX);
        // The shell ends when nobody can report any more; with workers alone nobody else has a sender.
        let (mut executors, mut services) = self.open_executors(reports.clone(), fence.shard, &end).await?;
        let fleet = self.fleet.as_ref().map(|fleet| {
            let (parts, service) = fleet::open(fleet, fence, &self.keys, &self.objects);
            executors.insert(parts.name.clone(), ExecutorKind::Fleet(parts.executor.clone()));
            services.spawn(service.run(end.clone()));
            *self.fleet_now() = Some(parts.executor.clone());
            parts
        });
        let local = executors.values().find_map(|executor| match executor {
            ExecutorKind::Local(local) => Some(local.clone()),
            ExecutorKind::Mock(mock) => Some(mock.inner().clone()),
            ExecutorKind::Noop(_) | ExecutorKind::Fleet(_) | ExecutorKind::Kubernetes(_) => None,
        });
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&local);
        let (retire, retired) = mpsc::channel(1);
        let retention = Retention {
            db: self.db.clone(),
            scope,
            fence,
            objects: self.objects.clone(),
            logs: [
                (Log::Events, self.retention.event_days),
                (Log::Audit, self.retention.audit_days),
                (Log::AssetEvents, self.retention.asset_event_days),
            ],
            bundle_days: self.retention.bundle_days,
            days: self.retention.run_days,
            retire,
        };
        let parts = Parts {
            journal: term.journal,
            facts: DbFacts::new(self.db.clone(), self.sealer.clone()),
            executors,
            reports: received,
            fleet,
            slots: self.executors.iter().map(|(name, chosen)| (name.clone(), chosen.slots)).collect(),
            objects: self.objects.clone(),
            scripts: self.scripts.clone(),
            policy: plugins::policy::Policy { data_dirs: self.data_folders.clone(), ..Default::default() },
            config: self.config.clone(),
            isolate: conflicts.isolated(),
            refuse: conflicts.refused(),
            wake: self.wake.clone(),
            settled: self.settled.clone(),
            alerted: alerted.clone(),
            looks: Some(self.owning.window.open()),
            retire: Some(retired),
        };
        let deliverer = Deliverer {
            db: self.db.clone(),
            scope,
            sealer: self.sealer.clone(),
            policy: parts.policy.clone(),
            alerted,
            wake: self.wake.clone(),
        };
        // In this order: executors' services end when the shell has.
        let over = tokio::select! {
            biased;
            ended = Box::pin(shell::run(parts, status.clone(), stop.drain.clone(), end.clone())) => match ended {
                Ok(Ended::Asked) => Over::Asked,
                Ok(Ended::Stopped(why)) => Over::Stopped(again(why, conflicts)),
                Ok(Ended::Panicked(panic)) => Over::Stopped(after_panic(&panic, conflicts)?),
                Err(shell::Error::Snapshot(why)) => Over::Unread(why),
                Err(error) => return Err(error.into()),
            },
            lost = lease.renew() => Over::Lost(lost),
            Some(ended) = services.join_next() => over_with_service(ended, stop.cancel.is_cancelled()),
            () = self.overdue(stop) => Over::Asked,
            never = hints::hear(&self.db, Topic::Inbox, || self.wake.notify_one()) => match never {},
            never = hints::pass_on(&self.db, Topic::Outcomes, &self.settled) => match never {},
            never = deliverer.run() => match never {},
            never = retention.run() => match never {},
            error = self.watch() => return Err(error),
        };
        if over == Over::Asked
            && stop.drain.is_cancelled()
            && let Some(local) = local
        {
            self.retire(&local, stop, &mut services).await;
        }
        end.cancel();
        self.owning.window.close();
        self.fleet_now().take();
        let over_says = match &over {
            Over::Unread(why) => format!("what is stored couldn't be read, it is tried again: {why}"),
            over => format!("the last term is over: {over:?}"),
        };
        self.owning.standing.send_replace(Standing::Trying(over_says));
        self.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        if matches!(over, Over::Asked | Over::Unread(_))
            && let Err(error) = lease.release(&self.db).await
        {
            let error = error_chain(&error);
            tracing::warn!(
                error,
                "the shard isn't given back; whoever stands by takes it when the lease is over"
            );
        }
        Ok(over)
    }

    /// What takes in the bundles that are sent to this process.
    pub(super) fn deployments(&self) -> Deployments {
        Deployments::new(self.objects.clone(), self.script_program.clone(), self.installation.clone())
    }

    /// This process as it can be watched.
    pub(super) fn process(&self, role: &'static str, recorder: Recorder) -> Process {
        let (db, owning) = (Some((self.db.clone(), self.waits.clone())), Some(self.owning.clone()));
        Process { db, owning, ..Process::new(role, recorder) }
    }

    /// Why the shard isn't ours yet.
    pub(super) fn stand(&self, why: &migrations::Error) {
        let standing = match why {
            migrations::Error::Owned { owner, .. } => {
                Standing::By(format!("standing by: {owner} owns the shard"))
            }
            other => Standing::Trying(other.to_string()),
        };
        self.owning.standing.send_replace(standing);
    }

    fn fleet_now(&self) -> std::sync::MutexGuard<'_, Option<executor::fleet::FleetExecutor>> {
        self.owning.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What workers and pods ask, if there may be any.
    pub(super) fn task_api(&self) -> Option<TaskApi> {
        let asked = self.asked.clone()?;
        let (db, keys) = (self.db.clone(), self.keys.clone());
        Some(TaskApi { asked, db, keys, sealer: self.sealer.clone(), objects: self.objects.clone() })
    }

    async fn open_executors(
        &self,
        reports: mpsc::Sender<engine::dispatch::Report>,
        shard: ShardId,
        end: &CancellationToken,
    ) -> anyhow::Result<(Executors, JoinSet<()>)> {
        let (mut executors, mut services) = (Executors::new(), JoinSet::new());
        for (name, chosen) in &self.executors {
            let kind = match chosen.kind {
                Kind::Local => {
                    let mut options = local::Options {
                        slots: chosen.slots,
                        ..local::Options::new(self.supervisor.clone(), &self.objects.results())?
                    };
                    if self.trial.is_some() {
                        options.arguments.push("--with-parent".into());
                    }
                    let (executor, service) = local::open(options, reports.clone());
                    services.spawn(service.run(end.clone()));
                    match &self.trial {
                        Some(trial) => {
                            let answers = trial.answers.clone();
                            ExecutorKind::Mock(MockExecutor::new(executor, answers, reports.clone()))
                        }
                        None => ExecutorKind::Local(executor),
                    }
                }
                Kind::Noop => ExecutorKind::Noop(NoopExecutor::new(reports.clone())),
                Kind::Kubernetes => {
                    let Some(cluster) = self.clusters.get(name) else { continue };
                    let options = cluster.open(name, shard, chosen.slots, &self.keys, &self.objects).await?;
                    let (executor, service) = kubernetes::open(options, reports.clone());
                    services.spawn(service.run(end.clone()));
                    ExecutorKind::Kubernetes(executor)
                }
                Kind::Workers => continue,
            };
            executors.insert(name.clone(), kind);
        }
        Ok((executors, services))
    }

    /// Ends the supervisor if it holds nothing. Whatever still runs there keeps it, to be found at the next start.
    async fn retire(&self, local: &LocalExecutor, stop: &Stop, services: &mut JoinSet<()>) {
        tokio::select! {
            closed = local.close() => match closed {
                Ok(()) => tracing::info!("the supervisor has ended"),
                Err(error) => tracing::warn!(%error, "the supervisor goes on"),
            },
            Some(_) = services.join_next() => {}
            () = stop.cancel.cancelled() => {}
            () = clock::sleep(RETIRE_MAX) => tracing::warn!("the supervisor doesn't answer; it goes on"),
        }
    }

    /// When a drain has taken too long.
    async fn overdue(&self, stop: &Stop) {
        stop.drain.cancelled().await;
        clock::sleep(self.drain).await;
        if self.drain > Span::ZERO {
            tracing::warn!("attempts are still running; they go on and are found again at the next start");
        }
    }

    /// Watches the folder of DAGs, if there is one. The owner of the shard does it, so that it is done once.
    async fn watch(&self) -> anyhow::Error {
        let Some(folder) = &self.dags else { return std::future::pending().await };
        let watch = FolderWatch::new(WatchSettings {
            root: folder.clone(),
            tenant: TenantId::DEFAULT,
            db: self.db.clone(),
            objects: self.objects.clone(),
            script_program: self.script_program.clone(),
            installation: self.installation.clone(),
            wake: self.wake.clone(),
        });
        let watched = match &self.trial {
            // If nobody listens any more the process is about to end.
            Some(trial) => {
                let watch = watch.adapting(local_runner::dev::adapt).after(TRIAL_QUIET);
                watch.run(|found| drop(trial.found.send(found))).await
            }
            None => watch.run(|found| tell(folder, found)).await,
        };
        match watched {
            Ok(()) => anyhow::anyhow!("the folder of DAGs isn't watched any more"),
            Err(error) => error.into(),
        }
    }
}

/// Takes note of why the engine stopped, and says how long to wait before it is built again.
fn again(why: Halt, conflicts: &mut Conflicts) -> Span {
    match why {
        Halt::Rebuild => {
            tracing::info!("the scheduler is built again, with what was released");
            conflicts.forget();
            Span::ZERO
        }
        Halt::Conflict(conflict) => {
            tracing::error!(%conflict, culprits = ?conflict.culprits, "the scheduler is built again from the database");
            conflicts.note(&conflict, clock::now());
            conflicts.wait()
        }
        Halt::Fenced => {
            tracing::error!("another owner has the shard; the scheduler is built again");
            FENCED
        }
    }
}

/// Takes note of a panic of the engine, and says how long to wait before it is built again.
fn after_panic(panic: &Panic, conflicts: &mut Conflicts) -> anyhow::Result<Span> {
    tracing::error!(%panic, culprit = ?panic.culprit, "this is a bug: the scheduler is built again from the database");
    if conflicts.panicked(panic, clock::now()) {
        return Ok(conflicts.wait());
    }
    anyhow::bail!(
        "{panic}. That happened again and again, and no run, DAG or request is to blame. This is a bug: the error output \
         says where. Nothing is lost; the service goes on where it was when it is started again"
    )
}

/// What follows when an executor's service has ended before the shell: without it nothing can be handed over.
fn over_with_service(ended: Result<(), tokio::task::JoinError>, asked: bool) -> Over {
    match ended {
        Ok(()) if asked => return Over::Asked,
        Ok(()) => tracing::error!("an executor's service ended by itself; the scheduler is built again"),
        Err(error) => {
            tracing::error!(%error, "an executor's service broke off; the scheduler is built again");
        }
    }
    Over::Stopped(FENCED)
}

/// Says what was found in the folder.
fn tell(folder: &Path, found: Result<Found, scheduler::watch::Error>) {
    match found {
        Ok(found) => {
            for (diagnostic, source) in &found.diagnostics {
                let shown = dags::diagnostic::render(diagnostic, source, false);
                tracing::warn!("{}\n{shown}", diagnostic.file);
            }
            if let Some(who) = &found.deployed_by {
                tracing::error!(
                    folder = %folder.display(),
                    "the folder of DAGs isn't taken over: the tenant's DAGs were deployed by {who}. Start without \
                     `dags.folder`, or give them back to the folder: `updraft deploy rollback BUNDLE` with one that the \
                     folder made"
                );
            }
            if found.activated {
                tracing::info!(dags = found.dags, "the folder's DAGs are active");
            }
        }
        Err(error) => {
            tracing::error!(folder = %folder.display(), error = error.explain(), "failed to take over the folder of DAGs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_executors_service_that_breaks_off_is_no_reason_to_end_in_silence() {
        let mut services = JoinSet::new();
        services.spawn(async { panic!("as a bug would") });
        let broken = services.join_next().await.unwrap();
        assert_eq!(over_with_service(broken, false), Over::Stopped(FENCED));
        assert_eq!(over_with_service(Ok(()), false), Over::Stopped(FENCED));
        assert_eq!(over_with_service(Ok(()), true), Over::Asked);
    }
}
