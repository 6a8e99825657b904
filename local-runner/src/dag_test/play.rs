//! One run of a test: what the engine needs is given by the test's mocks, by real processes, or by the service's own desk.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
};

use dags::{
    canonical,
    dag_test::{DagTest, Ends, Mock, Selector, Try},
    glob,
    ids::{ExecutorName, TaskId, TenantId},
    model::{Dag, Runner, Task},
    time::{Span, Timestamp},
    timetable::Bounds,
};
use engine::{
    Answer, Ask, Question,
    command::{ActivatedDag, Base, Command, Response, Trigger},
    dispatch::{Dispatch, End, News, Outcome, Report, ResultRef},
    journal::{Commit, Inbox, Load, Loaded},
    rows::{AlertRow, Batch, RunRow, Snapshot, TaskRow},
};
use plugins::{context::AttemptContext, policy::Policy, script::Field, template};
use scheduler::{
    context::{self, Wanted},
    desk::Desk,
    facts::{MemoryFacts, SharedJournal},
    objects::Objects,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{
    answers,
    real::Real,
    seen::{Seen, SeenTask},
    site::Site,
};
use crate::{
    clockwork::{Clockwork, Need, Store},
    connection, schedule,
    test_run::{
        Interrupt,
        node::in_order,
        prepare::{self, Prepared},
        select::Chosen,
    },
};

const TENANT: TenantId = TenantId::DEFAULT;
const EXECUTOR: &str = "local";
/// How many attempts may run at once.
const SLOTS: u32 = 10_000;
/// The longest run, on the test's clock.
const RUN_MAX: Span = Span::seconds(3_650 * 86_400);
/// The most instants at which something happens in a run: a sensor that is asked for ever ends here.
const INSTANTS_MAX: usize = 100_000;
/// When runs are asked for if the test doesn't say.
const SOME_DAY: &str = "2026-01-01T00:00:00Z";

/// The name of a task instance.
type Key = (TaskId, i32);

impl Store for SharedJournal {
    fn snapshot(&self) -> Snapshot {
        self.lock().read()
    }

    fn write(&mut self, batch: &Batch) -> Commit {
        self.lock().write(batch)
    }

    fn find(&self, load: Load) -> Loaded {
        self.lock().find(load)
    }

    fn request(&mut self, tenant: TenantId, actor: &str, command: Command) {
        self.lock().request(tenant, actor, command);
    }

    fn requests(&self, skip: &[i64], limit: usize) -> Inbox {
        self.lock().requests(skip, limit)
    }
}

struct Play<'a> {
    test: &'a DagTest,
    site: &'a Site,
    dag: Arc<Dag>,
    clockwork: Clockwork<SharedJournal>,
    desk: Desk<MemoryFacts>,
    real: Option<Real>,
    /// Tasks whose parameters somebody wants to see.
    shown: BTreeSet<TaskId>,
    rendered: BTreeMap<Key, Result<Map<String, Value>, String>>,
    follows: BTreeMap<Key, Vec<String>>,
    alerts: Vec<AlertRow>,
}

/// Makes the run. An error says why it can't be made, or that the engine is broken.
pub(super) async fn play(
    test: &DagTest,
    site: &Site,
    dag: &Dag,
    folder: &Path,
    timeout: Span,
    interrupt: &Interrupt,
) -> Result<Seen, String> {
    let next_runs = next_runs(test, dag);
    let prepared = prepare::prepare(dag.clone(), Chosen::default(), true);
    let objects = objects(site, folder).map_err(|error| format!("its folder can't be made: {error}"))?;
    let (connections, policy) = connections(test, folder)?;
    let journal = SharedJournal::default();
    let facts = MemoryFacts {
        journal: journal.journal.clone(),
        variables: Arc::new(test.given.variables.clone().into_iter().collect()),
        connections: Arc::new(connections),
        sample: None,
    };
    let desk = Desk { facts, objects, scripts: site.scripts.clone(), policy };
    let clockwork = clockwork(&journal, &prepared, site, test)?;
    let runs_for_real =
        dag.tasks.iter().any(|task| task.runner == Runner::Executor && runs(test, &task.task_id));
    let serving = if runs_for_real {
        Some(Real::open(folder, &desk.objects, dag, timeout).map_err(|error| error.to_string())?)
    } else {
        None
    };
    let (real, service) = serving.unzip();
    let mut play = Play {
        test,
        site,
        dag: Arc::new(prepared.dag),
        clockwork,
        desk,
        real,
        shown: shown(test, dag),
        rendered: BTreeMap::new(),
        follows: BTreeMap::new(),
        alerts: Vec::new(),
    };
    let seen = match service {
        None => play.run(interrupt).await.map(|stuck| (stuck, Vec::new())),
        Some(service) => {
            let stop = CancellationToken::new();
            let work = async {
                let stuck = play.run(interrupt).await;
                let seen = match stuck {
                    Ok(stuck) => Ok((stuck, play.logs().await)),
                    Err(why) => Err(why),
                };
                let closed = match &play.real {
                    Some(real) => real.close().await,
                    None => Ok(()),
                };
                stop.cancel();
                seen.and_then(|seen| closed.map(|()| seen))
            };
            let ((), seen) = tokio::join!(Box::pin(service.run(stop.clone())), Box::pin(work));
            seen
        }
    };
    let (stuck, logs) = seen?;
    play.seen(stuck, next_runs, logs)
}

/// A store of objects of its own, which shares the bundle.
fn objects(site: &Site, folder: &Path) -> std::io::Result<Objects> {
    std::fs::create_dir(folder)?;
    std::fs::create_dir(folder.join("data"))?;
    let objects = Objects::open(&folder.join("objects"))?;
    symlink(&site.stored, objects.bundle(&site.bundle))?;
    Ok(objects)
}

fn connections(
    test: &DagTest,
    folder: &Path,
) -> Result<(BTreeMap<String, plugins::context::Connection>, Policy), String> {
    let (mut connections, mut policy) = (BTreeMap::new(), Policy::default());
    for (name, url) in &test.given.connections {
        let given = connection::parse(name, &url.value, &folder.join("data"))
            .map_err(|why| format!("the connection `{name}` {why}"))?;
        policy.data_dirs.extend(given.data_dir);
        connections.insert(name.clone(), given.connection);
    }
    Ok((connections, policy))
}

/// An engine with the DAG and the one run that is asked for.
fn clockwork(
    journal: &SharedJournal,
    prepared: &Prepared,
    site: &Site,
    test: &DagTest,
) -> Result<Clockwork<SharedJournal>, String> {
    let (dag, given) = (&prepared.dag, &test.given);
    let version = canonical::version(dag);
    let now = now_of(test);
    {
        let mut journal = journal.lock();
        journal.now = now;
        journal.versions.insert(version.clone(), dag.clone().into());
        prepare::make_pools(dag, TENANT, &mut journal);
    }
    let name = ExecutorName::parse(EXECUTOR).expect("invariant: a plain word is a name");
    let broken = |broken: crate::clockwork::Broken| broken.to_string();
    let config = engine::Config::new(name.clone());
    let mut clockwork = Clockwork::new(config, journal.clone(), now, &[(name, SLOTS)]).map_err(broken)?;
    let active =
        ActivatedDag { dag_id: dag.dag_id.clone(), version, bundle: None, paused_upon_creation: false };
    let activate =
        Command::ActivateBundle { bundle: site.bundle.clone(), base: Base::Any, dags: vec![active] };
    clockwork.request(TENANT, "test", activate).map_err(broken)?;
    let mut conf = given.conf.clone();
    conf.extend(given.params.clone());
    let trigger = Trigger {
        dag_id: dag.dag_id.clone(),
        run_name: None,
        logical_date: Some(given.date.unwrap_or(now)),
        run_after: None,
        conf,
        note: None,
        chain_depth: 0,
    };
    clockwork.request(TENANT, "test", Command::Trigger(trigger)).map_err(broken)?;
    let refusal = journal.lock().outcomes.values().find_map(|outcome| outcome.clone().err());
    refusal.map_or(Ok(clockwork), |refusal| Err(refusal.message))
}

fn now_of(test: &DagTest) -> Timestamp {
    let some_day = || SOME_DAY.parse().expect("invariant: it is written as an instant");
    test.given.now.or(test.given.date).unwrap_or_else(some_day)
}

fn next_runs(test: &DagTest, dag: &Dag) -> Result<Vec<Timestamp>, String> {
    let Some(wanted) = &test.expect.next_runs else { return Ok(Vec::new()) };
    let request = schedule::Request {
        schedule: dag.schedule.clone(),
        bounds: Bounds { start_date: dag.start_date, end_date: dag.end_date },
        now: now_of(test),
        last_end: None,
        after: None,
        // None are expected of a schedule that makes none: one more than that would be too many.
        count: wanted.value.len().max(1),
    };
    let runs = schedule::preview(&request).map_err(|error| error.to_string())?;
    Ok(runs.into_iter().map(|run| run.run_after).collect())
}

/// Whether a task is run for real.
fn runs(test: &DagTest, task: &TaskId) -> bool {
    test.run.iter().any(|pattern| glob::fits(&pattern.value, task.as_str()))
}

/// The tasks whose rendered parameters are of interest.
fn shown(test: &DagTest, dag: &Dag) -> BTreeSet<TaskId> {
    let wanted = |task: &&Task| {
        let named = |of: &Selector| glob::fits(&of.task, task.task_id.as_str());
        let mut expected = test.expect.tasks.iter();
        test.expect.snapshot || expected.any(|(of, task)| !task.rendered.is_empty() && named(&of.value))
    };
    let scripted = !test.expect.check.is_empty();
    dag.tasks.iter().filter(|task| scripted || wanted(task)).map(|task| task.task_id.clone()).collect()
}

impl Play<'_> {
    /// Runs until the run has ended; otherwise says why it goes no further.
    async fn run(&mut self, interrupt: &Interrupt) -> Result<Option<String>, String> {
        let broken = |broken: crate::clockwork::Broken| broken.to_string();
        let end = self.clockwork.now().after(RUN_MAX);
        for _ in 0..INSTANTS_MAX {
            while let Some(need) = self.clockwork.need() {
                self.meet(need).await?;
            }
            if interrupt.end.is_cancelled() || interrupt.now.is_cancelled() {
                return Err("it was interrupted".to_owned());
            }
            if self.the_run()?.state.is_finished() {
                return Ok(None);
            }
            // The test's clock stands still while real tasks run, and their ends are entered into its agenda.
            if let Some(real) = self.real.as_mut().filter(|real| real.is_busy()) {
                for (takes, report) in real.next(interrupt).await? {
                    match report.news {
                        News::Started { .. } => self.clockwork.reports(vec![report]).map_err(broken)?,
                        News::Ended(_) => {
                            let at = self.clockwork.now().after(takes);
                            self.clockwork.end_at(at, report);
                        }
                    }
                }
                continue;
            }
            if !self.clockwork.advance(end).map_err(broken)? {
                return Ok(Some(self.why_stuck()));
            }
        }
        Ok(Some(format!("something happened {INSTANTS_MAX} times, and it still hasn't ended")))
    }

    fn the_run(&self) -> Result<RunRow, String> {
        let journal = self.clockwork.store.lock();
        journal.runs.values().next().cloned().ok_or_else(|| "the run wasn't made".to_owned())
    }

    /// What the first waiting task says.
    fn why_stuck(&self) -> String {
        let journal = self.clockwork.store.lock();
        let Some(run) = journal.runs.values().next() else { return "there is no run".to_owned() };
        let waiting = journal.tasks_of(run.run).filter(|row| !row.state.is_finished()).find_map(|row| {
            let engine = self.clockwork.engine();
            let waits = engine.explain(TENANT, &run.dag_id, &run.run_name, &row.task, row.map_index)?;
            let says = waits.holds.first().map_or_else(|| waits.state.to_string(), |hold| hold.says.clone());
            Some(format!("`{}`: {says}", row.task))
        });
        waiting.unwrap_or_else(|| "nothing is left to do".to_owned())
    }

    async fn meet(&mut self, need: Need) -> Result<(), String> {
        match need {
            Need::Attempt(dispatch) => self.attempt(dispatch).await,
            Need::Answer(question) => self.question(question).await,
            Need::Alerts(alerts) => {
                self.alerts.extend(alerts);
                Ok(())
            }
            Need::Kill(kill) => match &mut self.real {
                Some(real) => real.kill(kill).await,
                None => Ok(()),
            },
        }
    }

    async fn attempt(&mut self, dispatch: Dispatch) -> Result<(), String> {
        let (task, index) = (dispatch.task_id.clone(), dispatch.map_index);
        let mocked = mocked(&self.test.mocks, &task, index, dispatch.try_number).cloned();
        let for_real = mocked.is_none() && runs(self.test, &task);
        let wanted = self.shown.contains(&task);
        let mut built = None;
        if for_real || wanted {
            let Desk { facts, objects, policy, .. } = &self.desk;
            built = Some(context::build(facts, objects, policy, Wanted::from(&dispatch)).await);
        }
        if let Some(built) = built.as_ref().filter(|_| wanted) {
            let rendered = match built {
                Ok(ctx) => self.rendered(ctx).await,
                Err(error) => Err(error.to_string()),
            };
            self.rendered.insert((task, index), rendered);
        }
        if for_real && let (Some(built), Some(real)) = (built, &mut self.real) {
            return match built {
                Ok(ctx) => real.begin(dispatch, ctx).await,
                Err(error) => {
                    let reason = Some(error.to_string());
                    let end = End { outcome: Outcome::NotStarted, reason, ..End::success(None) };
                    self.clockwork.begin(&dispatch, Span::ZERO, Span::ZERO, &end);
                    Ok(())
                }
            };
        }
        let mocked = mocked.unwrap_or_default();
        let (takes, end) = end_of(&mocked, dispatch.timeout);
        self.clockwork.begin(&dispatch, Span::ZERO, takes, &end);
        Ok(())
    }

    /// The operator's parameters as its program would see them.
    async fn rendered(&self, ctx: &AttemptContext) -> Result<Map<String, Value>, String> {
        let mut args = ctx.task.args.clone();
        let templated: Vec<&String> =
            ctx.task.templated.iter().filter(|name| args.contains_key(*name)).collect();
        if templated.is_empty() {
            return Ok(args);
        }
        let operator = self.site.catalog.get(&ctx.task.operator);
        let code = |name: &str| operator.is_some_and(|operator| operator.code.contains(name));
        let fields: Vec<Field> =
            templated.iter().map(|name| Field { source: args[*name].clone(), code: code(name) }).collect();
        let scripts = self.desk.scripts.as_ref().ok_or_else(no_scripts)?;
        let values = scripts.render(TENANT, &fields, &template::names(ctx)).await;
        let values = values.map_err(|error| error.to_string())?;
        for (name, value) in templated.into_iter().zip(values) {
            args.insert(name.clone(), value.map_err(|fault| format!("`{name}`: {fault}"))?);
        }
        Ok(args)
    }

    async fn question(&mut self, question: Question) -> Result<(), String> {
        let key = (question.task_id.clone(), question.map_index);
        let mocked = mocked(&self.test.mocks, &question.task_id, question.map_index, question.try_number);
        let answer = match (question.ask, mocked) {
            (Ask::Task, Some(mocked)) => answers::mocked(mocked)?,
            (Ask::Task | Ask::When, _) => {
                // A program that is started anew answers at the second time at the latest.
                let now = self.clockwork.now();
                match self.desk.answer_at(&question, now).await {
                    Ok(answer) => answer,
                    Err(_) => self.desk.answer_at(&question, now).await?,
                }
            }
        };
        if let Answer::Follow(names) = &answer {
            let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
            names.sort();
            self.follows.insert(key, names);
        }
        if let Answer::Ask(_) = &answer {
            self.let_answer(&question);
        }
        self.clockwork.answer(question.id, answer).map_err(|broken| broken.to_string())
    }

    /// Somebody will answer, if the test says so.
    fn let_answer(&mut self, question: &Question) {
        let given =
            self.test.given.answers.iter().find(|given| given.task.value == question.task_id.as_str());
        let Some(given) = given else { return };
        let respond = Command::Respond(Response {
            dag_id: question.dag_id.clone(),
            run_name: question.run_name.clone(),
            task_id: question.task_id.clone(),
            map_index: question.map_index,
            chosen_options: answers::options(&self.dag, given),
            params_input: given.params.clone(),
        });
        let at = self.clockwork.now().after(given.after);
        self.clockwork.request_at(at, TENANT, &given.by, respond);
    }

    /// What the tasks wrote that were run for real and failed.
    async fn logs(&self) -> Vec<(Key, Vec<String>)> {
        let rows: Vec<TaskRow> = {
            let journal = self.clockwork.store.lock();
            journal.tasks.values().filter(|row| crate::test_run::failed(row)).cloned().collect()
        };
        let mut logs = Vec::new();
        for row in rows {
            if let Some(real) = &self.real {
                let lines = real.log(&row, &self.desk.objects).await;
                logs.push(((row.task.clone(), row.map_index), lines));
            }
        }
        logs
    }

    fn seen(
        mut self,
        stuck: Option<String>,
        next_runs: Result<Vec<Timestamp>, String>,
        logs: Vec<(Key, Vec<String>)>,
    ) -> Result<Seen, String> {
        let run = self.the_run()?;
        let journal = self.clockwork.store.lock().clone();
        // A wrong answer, a request for what isn't there: the run goes on, and the test's author must know.
        if let Some(refusal) = journal.outcomes.values().find_map(|outcome| outcome.as_ref().err()) {
            return Err(format!("an answer was refused: {}", refusal.message));
        }
        let mut logs: BTreeMap<Key, Vec<String>> = logs.into_iter().collect();
        let rows: Vec<TaskRow> = journal.tasks_of(run.run).cloned().collect();
        let mut tasks = Vec::with_capacity(rows.len());
        for row in in_order(&self.dag, rows) {
            let key = (row.task.clone(), row.map_index);
            let result = journal.results.get(&(run.run, row.task.clone(), row.map_index));
            let result = result.filter(|result| result.attempt == row.attempt());
            let result = result.map(|result| self.value(&result.value)).transpose()?;
            let model = self.dag.tasks.iter().find(|task| task.task_id == row.task);
            let operator = model.and_then(|task| self.site.catalog.get(&task.operator));
            tasks.push(SeenTask {
                main: operator.and_then(|operator| operator.main.clone()),
                mapped: row.map_index >= 0,
                task: row.task.to_string(),
                index: row.map_index,
                state: row.state,
                tries: row.try_number,
                reason: row.reason.as_deref().map(str::to_owned),
                started_at: row.started_at,
                ended_at: row.ended_at,
                result,
                rendered: self.rendered.remove(&key),
                follows: self.follows.remove(&key),
                log: logs.remove(&key).unwrap_or_default(),
            });
        }
        let assets = journal.asset_events.iter().map(|event| event.asset.to_string()).collect();
        Ok(Seen { run, tasks, alerts: self.alerts, assets, stuck, next_runs })
    }

    fn value(&self, value: &ResultRef) -> Result<Value, String> {
        match value {
            ResultRef::Inline(value) => Ok(value.clone()),
            ResultRef::Stored { digest, .. } => {
                let unreadable = |why: String| format!("a result can't be read: {why}");
                let text = self.desk.objects.result(digest).map_err(|error| unreadable(error.to_string()))?;
                serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))
            }
        }
    }
}

pub(super) fn no_scripts() -> String {
    format!("the program `{}` isn't beside this one", plugins::script::PROGRAM)
}

/// How a try of a task instance ends, if the test says so: what is said of the very instance counts before what is said of
/// its task, and that before patterns, in the order of the file.
fn mocked<'m>(mocks: &'m [Mock], task: &TaskId, index: i32, try_number: u32) -> Option<&'m Try> {
    let named = |mock: &&Mock| mock.of.value.task == task.as_str();
    let at = |mock: &&Mock| mock.of.value.index == Some(index);
    let whole = |mock: &&Mock| mock.of.value.index.is_none();
    let fits = |mock: &&Mock| glob::fits(&mock.of.value.task, task.as_str()) && (at(mock) || whole(mock));
    let found = mocks
        .iter()
        .find(|mock| named(mock) && at(mock))
        .or_else(|| mocks.iter().find(|mock| named(mock) && whole(mock)))
        .or_else(|| mocks.iter().find(fits))?;
    let last = found.tries.len() - 1;
    found.tries.get((try_number.max(1) as usize - 1).min(last))
}

/// How long a mocked try takes and how it ends. One that would take longer than it may is ended.
fn end_of(mocked: &Try, timeout: Option<Span>) -> (Span, End) {
    if let Some(timeout) = timeout.filter(|timeout| mocked.takes > *timeout) {
        let reason = format!("it took longer than its timeout of {timeout}");
        return (timeout, End { outcome: Outcome::TimedOut, reason: Some(reason), ..End::success(None) });
    }
    let outcome = match mocked.ends {
        Ends::Success => return (mocked.takes, End::success(mocked.result.clone())),
        Ends::Failed => Outcome::Failed,
        Ends::FailedForGood => Outcome::FailedForGood,
        Ends::TimedOut => Outcome::TimedOut,
        Ends::Skipped => Outcome::Skipped,
        Ends::Lost => Outcome::Lost,
    };
    let reason = mocked.reason.clone().or_else(|| Some("mocked".to_owned()));
    let exit_code = mocked.exit_code;
    (mocked.takes, End { outcome, reason, exit_code, ..End::success(None) })
}

/// A report and how long what it says took, on the test's clock.
pub(super) type Timed = (Span, Report);
