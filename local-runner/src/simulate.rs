//! `updraft simulate`: what a folder of DAGs does over a span of time, by the real engine on a clock of its own.
//!
//! Nothing is run: how long tasks take, which fail and how long lists are comes from [`behaviour`], the size of everything
//! from [`scenario`]. [`ledger`] is the store that only keeps what is still needed, and counts; [`answers`] decides what
//! the engine asks; [`report`] is what comes of it, [`page`] the same with charts.
//!
//! The same seed gives the same report. A task instance's draw depends on the seed, its run's name and itself, and on
//! nothing else, so that two scenarios differ by what was changed and not by luck.

mod answers;
mod behaviour;
mod history;
mod ledger;
mod page;
mod report;
mod scenario;
mod usage;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use dags::{
    canonical,
    diagnostic::{Diagnostic, Severity, Source},
    ids::{BundleId, DagId, ExecutorName, TenantId},
    model::{Dag, MapSource, When},
    time::{Span, Timestamp},
};
use engine::{
    command::{ActivatedDag, Base, Command},
    dispatch::{Dispatch, End, Outcome},
    rows::AlertKind,
};

use self::{
    behaviour::{Behaviour, Draw},
    ledger::Ledger,
    scenario::Scenario,
};
pub use self::{
    behaviour::{Dist, Durations, Told},
    history::{History, Seen},
    ledger::Instance,
    page::html,
    report::{DagReport, Missed, Quantiles, Report, UsageReport, WaitReport, json, text},
    scenario::Changes,
};
use crate::{
    Error,
    clockwork::{Broken, Clockwork, Need},
    load::Folder,
};

/// The name of the executor of tasks that name none.
pub const EXECUTOR: &str = "local";

/// Who says how long tasks take.
#[derive(Debug, Clone)]
pub enum Takes {
    /// Whoever simulates.
    Here(Durations),
    /// A service.
    History(History),
}

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Request {
    /// The folder of DAGs.
    pub folder: PathBuf,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// Sizes and what is changed about the DAGs.
    pub changes: Changes,
    /// What chance begins with.
    pub seed: u64,
    /// List every task instance in the report, too.
    pub instances: bool,
}

/// Files that can't be used, with everything that is wrong with them.
pub type Problems = Vec<(Diagnostic, Source)>;

/// Compiles the folder and simulates it. Files with errors are left out, and reported.
pub async fn run(request: &Request, takes: &Takes, problems: &mut Problems) -> Result<Report, Error> {
    if request.to <= request.from {
        return Err(Error::usage("`--to` isn't later than `--from`", "give two dates or times in order"));
    }
    let (mut folder, scan) = Folder::open(&request.folder)?;
    problems.append(&mut folder.problems);
    let mut found = Vec::new();
    for file in Folder::dag_files(&scan) {
        let shown = request.folder.join(&file).display().to_string();
        let compiled = folder.compile_as(&file, &shown).await;
        found.extend(compiled.compiled.dags);
        let wrong = compiled.compiled.diagnostics.into_iter();
        let wrong = wrong.filter(|problem| problem.severity == Severity::Error);
        problems.extend(wrong.map(|problem| (problem, compiled.source.clone())));
    }
    if found.is_empty() {
        return Err(Error::usage(
            format!("{} has no DAG that could be simulated", request.folder.display()),
            "`updraft validate` shows what is wrong with files",
        ));
    }
    match takes {
        Takes::Here(durations) => simulate(found, request, durations),
        Takes::History(history) => {
            let seen = history.read(&found).await?;
            simulate(found, request, &Durations::Seen(seen))
        }
    }
}

/// Simulates these DAGs, whose tasks take so long.
pub fn simulate(dags: Vec<Dag>, request: &Request, durations: &Durations) -> Result<Report, Error> {
    let scenario = Scenario::new(dags, request)?;
    let behaviour = Behaviour::new(&scenario, durations, request.seed)?;
    let broken = |broken: Broken| Error::Machine { doing: "simulate", why: broken.to_string() };
    let mut world = World::new(scenario, behaviour, request).map_err(broken)?;
    if let Some(why) = world.clockwork.store.refused.first() {
        return Err(Error::usage(why.clone(), "mend the file of `--quotas` or the options"));
    }
    // What is due at the end belongs to what follows.
    world.run(Timestamp(request.to.0 - 1)).map_err(broken)?;
    Ok(world.report(request))
}

struct World {
    clockwork: Clockwork<Ledger>,
    scenario: Scenario,
    behaviour: Behaviour,
    /// By tenant and name: what a task of the DAG is.
    models: BTreeMap<(TenantId, DagId), Arc<Dag>>,
}

impl World {
    fn new(scenario: Scenario, behaviour: Behaviour, request: &Request) -> Result<Self, Broken> {
        let default = ExecutorName::parse(EXECUTOR).expect("invariant: a plain word is a name");
        let mut config = engine::Config::new(default);
        // Nobody waits for a batch here; a large one costs less in all.
        config.step_transitions = 20_000;
        let mut ledger = Ledger::new(request.from, request.to, &scenario);
        ledger.list = request.instances.then(Vec::new);
        let mut models = BTreeMap::new();
        let mut active: BTreeMap<TenantId, Vec<ActivatedDag>> = BTreeMap::new();
        for (tenant, dag) in &scenario.dags {
            let version = canonical::version(dag);
            ledger.versions.insert(version.clone(), dag.clone());
            models.insert((*tenant, dag.dag_id.clone()), dag.clone());
            let dag_id = dag.dag_id.clone();
            let one = ActivatedDag { dag_id, version, bundle: None, paused_upon_creation: false };
            active.entry(*tenant).or_default().push(one);
        }
        let mut clockwork = Clockwork::new(config, ledger, request.from, &scenario.executors)?;
        for (tenant, command) in scenario.commands() {
            clockwork.request(tenant, "simulate", command)?;
        }
        for (tenant, dags) in active {
            let bundle = BundleId("simulated".into());
            clockwork.request(
                tenant,
                "simulate",
                Command::ActivateBundle { bundle, base: Base::Any, dags },
            )?;
        }
        Ok(Self { clockwork, scenario, behaviour, models })
    }

    fn run(&mut self, to: Timestamp) -> Result<(), Broken> {
        loop {
            while let Some(need) = self.clockwork.need() {
                match need {
                    Need::Attempt(dispatch) => self.attempt(&dispatch),
                    Need::Answer(question) => {
                        let answer = answers::answer(
                            &self.models,
                            &mut self.behaviour,
                            &self.clockwork.store,
                            &question,
                            self.clockwork.now(),
                        );
                        self.clockwork.answer(question.id, answer)?;
                    }
                    Need::Alerts(alerts) => {
                        let missed = alerts.iter().filter(|alert| alert.what == AlertKind::Deadline);
                        self.clockwork.store.deadlines.extend(missed.map(|alert| {
                            (alert.tenant, alert.dag_id.clone(), alert.run_name.clone(), alert.at)
                        }));
                    }
                    // It ended at this very instant.
                    Need::Kill(_) => {}
                }
            }
            self.explain();
            if !self.clockwork.advance(to)? {
                return Ok(());
            }
        }
    }

    fn attempt(&mut self, dispatch: &Dispatch) {
        let draw = Draw::of(dispatch);
        let (takes, fails, length) = self.behaviour.attempt(dispatch.tenant, &draw);
        let (takes, outcome) = match dispatch.timeout {
            Some(timeout) if takes > timeout => (timeout, Outcome::TimedOut),
            _ if fails => (takes, Outcome::Failed),
            _ => (takes, Outcome::Success),
        };
        let end = match outcome {
            Outcome::Success => End { mapped_length: length, ..End::success(None) },
            outcome => {
                End { outcome, reason: Some("it fails here and there".to_owned()), ..End::success(None) }
            }
        };
        // Ends at whole seconds meet, and what meets is done at once.
        let now = self.clockwork.now();
        let early = Span(now.0.rem_euclid(1_000_000));
        self.clockwork.begin(dispatch, Span::ZERO, Span(takes.0 - early.0).max(Span(1)), &end);
    }

    /// Asks why those wait that have just begun to.
    fn explain(&mut self) {
        let fresh = std::mem::take(&mut self.clockwork.store.fresh);
        for waiting in fresh {
            let known = self.clockwork.store.cause_of(&waiting);
            let cause = known.or_else(|| {
                let found = self.clockwork.engine().explain(
                    waiting.tenant,
                    &waiting.dag_id,
                    &waiting.run_name,
                    &waiting.task,
                    waiting.index,
                )?;
                found.holds.first().map(|hold| report::cause(&hold.limit))
            });
            if let Some(cause) = cause {
                self.clockwork.store.waits_for(waiting, cause);
            }
        }
    }

    fn report(mut self, request: &Request) -> Report {
        let mut assumptions = self.behaviour.assumptions();
        if self.scenario.dags.iter().any(|(_, dag)| matches!(dag.schedule.when, When::Never)) {
            assumptions.push("DAGs without a schedule are never started by hand".to_owned());
        }
        report::make(&mut self.clockwork.store, &self.scenario, request, assumptions)
    }
}

/// Whether some task is repeated over the result of this one.
fn is_mapped_over(dag: &Dag, task: &dags::ids::TaskId) -> bool {
    let maps = dag.tasks.iter().filter_map(|task| task.map.as_ref());
    let all = maps.chain(dag.groups.iter().filter_map(|group| group.map.as_ref()));
    all.flat_map(|map| &map.over).any(|(_, source)| matches!(source, MapSource::Output(of) if of == task))
}
