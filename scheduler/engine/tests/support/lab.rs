//! A driver with a journal in memory, an executor that does what the test says, and a clock that the test moves.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    sync::Arc,
};

use dags::{
    canonical,
    ids::{
        BundleId, DagId, DagVersion, DispatchId, ExecutorName, PoolName, RunName, TaskId, TenantId, WorkerId,
    },
    model::Dag,
    time::{Span, Timestamp},
};
use engine::{
    Answer, Config, Question,
    command::{ActivatedDag, Base, Clear, Command, Refusal, Selection, Trigger},
    dispatch::{Dispatch, End, Kill, News, Outcome, Report},
    driver::{Action, Driver, Input, Stop, Withdrawal, Withdrawn},
    journal::{Commit, Load},
    memory::MemoryJournal,
    rows::{AlertRow, Broken, RunRow, Snapshot, TaskRow},
    state::{RunState, TaskState},
};
use serde_json::Value;

use super::builder::{DagBuilder, at, task_id};

/// The tenant of everything that doesn't name another.
pub(crate) const TENANT: TenantId = TenantId::DEFAULT;

/// An installation in which nothing happens unless the test says so.
pub(crate) struct Lab {
    pub(crate) driver: Driver,
    pub(crate) journal: MemoryJournal,
    pub(crate) now: Timestamp,
    pub(crate) config: Config,
    /// What executors hold, in order of hand-over.
    pub(crate) held: Vec<Dispatch>,
    /// Every dispatch ever handed over, repeats left out.
    pub(crate) dispatched: Vec<Dispatch>,
    /// Every hand-over with its number of members, repeats too.
    pub(crate) handed_over: Vec<(DispatchId, u32)>,
    pub(crate) kills: Vec<Kill>,
    pub(crate) questions: Vec<Question>,
    pub(crate) alerts: Vec<AlertRow>,
    /// Runs that are asked for and aren't looked up before the test says so; none if all are at once.
    pub(crate) loads: Option<Vec<Load>>,
    /// What people were told about quarantine.
    pub(crate) quarantined: Vec<Broken>,
    /// Whether a batch may be refused.
    pub(crate) conflicts_expected: bool,
    /// Reports that are stored, and ends among them that executors may forget.
    pub(crate) confirmed: usize,
    pub(crate) forgotten: usize,
    /// Workers that were lost or left.
    pub(crate) gone: Vec<(ExecutorName, WorkerId)>,
    /// Withdrawals that have no outcome before the test says so; none if all have one at once.
    pub(crate) withdrawals: Option<Vec<Withdrawal>>,
    /// Dispatches that their worker has claimed.
    pub(crate) claimed: BTreeSet<DispatchId>,
    pub(crate) stopped: Option<Stop>,
    /// The most rows of task instances in a batch.
    pub(crate) largest_batch: usize,
    /// Batches after which the database stops to answer, to crash in the middle of something.
    pub(crate) commits_left: Option<usize>,
    executors: BTreeMap<ExecutorName, u32>,
    active: BTreeMap<(TenantId, DagId), DagVersion>,
    seen: BTreeSet<DispatchId>,
    seqs: BTreeMap<(DispatchId, u32), u32>,
    bundles: u32,
    triggers: u32,
}

impl Lab {
    /// A lab at the start of 2026 with an executor `local` for 1,000 attempts.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let local = ExecutorName::parse("local").unwrap();
        let mut config = Config::new(local.clone());
        change(&mut config);
        let mut journal = MemoryJournal::default();
        journal.now = at("2026-01-01T00:00:00Z");
        let driver = Driver::new(config.clone(), journal.read()).unwrap();
        let mut lab = Self {
            driver,
            now: journal.now,
            journal,
            config,
            held: Vec::new(),
            dispatched: Vec::new(),
            handed_over: Vec::new(),
            kills: Vec::new(),
            questions: Vec::new(),
            alerts: Vec::new(),
            loads: None,
            quarantined: Vec::new(),
            conflicts_expected: false,
            confirmed: 0,
            forgotten: 0,
            gone: Vec::new(),
            withdrawals: None,
            claimed: BTreeSet::new(),
            stopped: None,
            largest_batch: 0,
            commits_left: None,
            executors: BTreeMap::new(),
            active: BTreeMap::new(),
            seen: BTreeSet::new(),
            seqs: BTreeMap::new(),
            bundles: 0,
            triggers: 0,
        };
        lab.executor("local", 1_000);
        lab
    }

    /// Sets how many attempts an executor may run at once.
    pub(crate) fn executor(&mut self, name: &str, slots: u32) {
        let name = ExecutorName::parse(name).unwrap();
        self.executors.insert(name.clone(), slots);
        self.put(Input::Executor(name, Some(slots)));
    }

    /// Something happens, and everything that follows at this instant.
    pub(crate) fn put(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut turns = 0;
        while let Some(input) = inputs.pop_front() {
            turns += 1;
            assert!(turns < 200_000, "the driver doesn't come to rest");
            for action in self.driver.next(self.now, input) {
                self.act(action, &mut inputs);
            }
            // Each batch moves the engine's clock by a microsecond.
            self.now = self.now.max(self.driver.engine().now());
            if inputs.is_empty()
                && self.stopped.is_none()
                && self.commits_left != Some(0)
                && self.driver.is_busy()
            {
                inputs.push_back(Input::Tick);
            }
        }
    }

    fn act(&mut self, action: Action, inputs: &mut VecDeque<Input>) {
        match action {
            Action::Commit(batch) => {
                match &mut self.commits_left {
                    Some(0) => return,
                    Some(left) => *left -= 1,
                    None => {}
                }
                self.largest_batch = self.largest_batch.max(batch.new_tasks.len() + batch.tasks.len());
                let commit = self.journal.write(&batch);
                let conflict = matches!(commit, Commit::Conflict(_)) && self.conflicts_expected;
                assert!(conflict || commit == Commit::Done, "{commit:?}");
                inputs.push_back(Input::Committed(commit));
            }
            Action::Load(load) if self.loads.is_some() => {
                self.loads.iter_mut().for_each(|kept| kept.push(load.clone()));
            }
            Action::Load(load) => inputs.push_back(Input::Loaded(Box::new(self.journal.find(load)))),
            Action::Dispatch(dispatches) => {
                for dispatch in dispatches {
                    self.handed_over.push((dispatch.id, dispatch.members));
                    if self.seen.insert(dispatch.id) {
                        self.dispatched.push(dispatch.clone());
                        self.held.push(dispatch);
                    }
                }
            }
            Action::Kill(kills) => self.kills.extend(kills),
            Action::Ask(questions) => {
                for question in questions {
                    self.questions.retain(|known| known.id != question.id);
                    self.questions.push(question);
                }
            }
            Action::Confirm(receipts) => {
                self.confirmed += receipts.len();
                self.forgotten += receipts.iter().filter(|receipt| receipt.ended).count();
            }
            Action::Withdraw(withdrawals) => match &mut self.withdrawals {
                Some(waiting) => waiting.extend(withdrawals),
                None => inputs.push_back(self.withdrawn(&withdrawals)),
            },
            Action::Gone(workers) => self.gone.extend(workers),
            Action::Alert(alerts) => self.alerts.extend(alerts),
            Action::Fault(faults) => panic!("faults: {faults:?}"),
            Action::Quarantined(broken) => self.quarantined.extend(broken),
            Action::Answered(_) | Action::ReadPosition => {}
            Action::Stop(stop) => self.stopped = Some(stop),
        }
    }

    /// What comes of withdrawals.
    pub(crate) fn withdrawn(&self, withdrawals: &[Withdrawal]) -> Input {
        let outcome = |id| {
            let claimed = self.claimed.contains(&id);
            (id, if claimed { Withdrawn::Claimed } else { Withdrawn::Unclaimed })
        };
        Input::Withdrawn(withdrawals.iter().map(|withdrawal| outcome(withdrawal.id)).collect())
    }

    /// Makes this the newest version of its DAG.
    pub(crate) fn activate(&mut self, dag: DagBuilder) -> DagVersion {
        self.activate_for(TENANT, dag.build(), false)
    }

    /// Adds a DAG that starts out paused.
    pub(crate) fn activate_paused(&mut self, dag: DagBuilder) -> DagVersion {
        self.activate_for(TENANT, dag.build(), true)
    }

    pub(crate) fn activate_for(&mut self, tenant: TenantId, dag: Dag, paused: bool) -> DagVersion {
        let version = canonical::version(&dag);
        self.active.insert((tenant, dag.dag_id.clone()), version.clone());
        self.journal.versions.insert(version.clone(), Arc::new(dag));
        self.activate_bundle(tenant, paused);
        version
    }

    /// Leaves a DAG out of the newest bundle.
    pub(crate) fn retire(&mut self, dag_id: &str) {
        self.active.remove(&(TENANT, DagId::parse(dag_id).unwrap()));
        self.activate_bundle(TENANT, false);
    }

    fn activate_bundle(&mut self, tenant: TenantId, paused_upon_creation: bool) {
        self.bundles += 1;
        let bundle = BundleId(format!("{:064x}", self.bundles).into());
        let dags =
            self.active.iter().filter(|((owner, _), _)| *owner == tenant).map(|((_, dag_id), version)| {
                ActivatedDag {
                    dag_id: dag_id.clone(),
                    version: version.clone(),
                    bundle: None,
                    paused_upon_creation,
                }
            });
        let command = Command::ActivateBundle { bundle, base: Base::Any, dags: dags.collect() };
        self.request_as(tenant, command).unwrap();
    }

    /// Puts a request into the inbox and says what became of it.
    pub(crate) fn request(&mut self, command: Command) -> Result<Value, Refusal> {
        self.request_as(TENANT, command)
    }

    pub(crate) fn request_as(&mut self, tenant: TenantId, command: Command) -> Result<Value, Refusal> {
        self.request_by(tenant, "ann", command)
    }

    pub(crate) fn request_by(
        &mut self,
        tenant: TenantId,
        actor: &str,
        command: Command,
    ) -> Result<Value, Refusal> {
        let id = self.journal.request(tenant, actor, command);
        let inbox = self.journal.requests(&self.driver.taken(), 100);
        self.put(Input::Inbox(inbox));
        self.journal.outcomes.remove(&id).expect("the request has an outcome")
    }

    /// Makes a run by hand, without a logical date, named `r1`, `r2`, ...
    pub(crate) fn trigger(&mut self, dag_id: &str) -> String {
        self.triggers += 1;
        let name = format!("r{}", self.triggers);
        self.trigger_with(dag_id, |trigger| trigger.run_name = Some(RunName::parse(&name).unwrap())).unwrap()
    }

    /// Makes a run by hand for a logical date.
    pub(crate) fn trigger_for(&mut self, dag_id: &str, date: &str) -> Result<String, Refusal> {
        self.triggers += 1;
        let name = format!("r{}", self.triggers);
        self.trigger_with(dag_id, |trigger| {
            trigger.run_name = Some(RunName::parse(&name).unwrap());
            trigger.logical_date = Some(at(date));
        })
    }

    pub(crate) fn trigger_with(
        &mut self,
        dag_id: &str,
        change: impl FnOnce(&mut Trigger),
    ) -> Result<String, Refusal> {
        let mut trigger = Trigger {
            dag_id: DagId::parse(dag_id).unwrap(),
            run_name: None,
            logical_date: None,
            run_after: None,
            conf: serde_json::Map::new(),
            note: None,
            chain_depth: 0,
        };
        change(&mut trigger);
        let outcome = self.request(Command::Trigger(trigger))?;
        Ok(outcome["run_id"].as_str().unwrap().to_owned())
    }

    pub(crate) fn pause(&mut self, dag_id: &str, paused: bool) {
        self.request(Command::PauseDag { dag_id: DagId::parse(dag_id).unwrap(), paused }).unwrap();
    }

    pub(crate) fn pool(&mut self, name: &str, slots: i32) {
        let command =
            Command::SetPool { name: PoolName::parse(name).unwrap(), slots, include_deferred: false };
        self.request(command).unwrap();
    }

    /// Clears tasks of the run, `a` or `a[1]`; none for all.
    pub(crate) fn clear<const N: usize>(&mut self, run: &str, tasks: [&str; N]) {
        self.clear_with(run, tasks, |_| {}).unwrap();
    }

    pub(crate) fn clear_with<const N: usize>(
        &mut self,
        run: &str,
        tasks: [&str; N],
        change: impl FnOnce(&mut Clear),
    ) -> Result<Value, Refusal> {
        let mut clear = Clear {
            select: self.select(run, tasks),
            only_failed: false,
            only_running: false,
            run_on_latest_version: false,
        };
        change(&mut clear);
        self.request(Command::Clear(clear))
    }

    pub(crate) fn mark<const N: usize>(&mut self, run: &str, tasks: [&str; N], state: TaskState) {
        let select = self.select(run, tasks);
        self.request(Command::MarkTasks { select, state }).unwrap();
    }

    pub(crate) fn mark_run(&mut self, run: &str, state: RunState) {
        let row = self.run_row(run);
        let (dag_id, run_name) = (row.dag_id.clone(), row.run_name.clone());
        self.request(Command::MarkRun { dag_id, run_name, state }).unwrap();
    }

    /// A selection of tasks, `a` or `a[1]`.
    pub(crate) fn select<const N: usize>(&self, run: &str, tasks: [&str; N]) -> Selection {
        let row = self.run_row(run);
        let tasks = tasks.map(|text| {
            let (name, index) = split_index(text);
            (task_id(name), index)
        });
        Selection {
            dag_id: row.dag_id.clone(),
            run_name: row.run_name.clone(),
            tasks: tasks.into(),
            upstream: false,
            downstream: false,
        }
    }

    /// What an executor holds of that name: `task`, `task[index]`, with `run/` in front if several runs have it.
    pub(crate) fn run(&mut self, name: &str) -> Held<'_> {
        let found: Vec<usize> = self
            .held
            .iter()
            .enumerate()
            .filter(|(_, dispatch)| matches(name, &dispatch.run_name, &dispatch.task_id, dispatch.map_index))
            .map(|(position, _)| position)
            .collect();
        let [position] = found[..] else { panic!("{name}: {} held\n{}", found.len(), self.everything()) };
        let dispatch = self.held[position].clone();
        Held { lab: self, dispatch }
    }

    /// Whether an executor holds it.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.held.iter().any(|d| matches(name, &d.run_name, &d.task_id, d.map_index))
    }

    /// What executors hold, in the order of hand-over, with the run's name in front.
    pub(crate) fn holding(&self) -> String {
        let names: Vec<String> =
            self.held.iter().map(|d| format!("{}/{}", d.run_name, named(&d.task_id, d.map_index))).collect();
        names.join(" ")
    }

    /// Answers the open question of a task.
    pub(crate) fn answer(&mut self, name: &str, answer: Answer) {
        let position = self
            .questions
            .iter()
            .position(|q| matches(name, &q.run_name, &q.task_id, q.map_index))
            .unwrap_or_else(|| panic!("nothing is asked about {name}\n{}", self.everything()));
        let question = self.questions.remove(position);
        self.put(Input::Answer(question.id, answer));
    }

    /// The same, if there is such a question.
    pub(crate) fn answer_if_asked(&mut self, name: &str, answer: impl FnOnce() -> Answer) {
        if self.questions.iter().any(|q| matches(name, &q.run_name, &q.task_id, q.map_index)) {
            self.answer(name, answer());
        }
    }

    /// A branch follows these.
    pub(crate) fn follow<const N: usize>(&mut self, name: &str, chosen: [&str; N]) {
        self.answer(name, Answer::Follow(chosen.map(task_id).into()));
    }

    /// Executors confirm that what they were asked to end has ended.
    pub(crate) fn confirm_kills(&mut self) {
        for kill in std::mem::take(&mut self.kills) {
            self.held.retain(|dispatch| dispatch.id != kill.id);
            self.report(kill.id, 0, News::Ended(end(Outcome::Killed)));
        }
    }

    /// The executor says that it holds these members, and nothing else.
    pub(crate) fn looks_around<const N: usize>(&mut self, held: [(DispatchId, u32); N]) {
        let held =
            held.map(|(id, member)| engine::dispatch::Held { id, member, since: self.now, ended: false });
        let executor = self.config.default_executor.clone();
        let as_of = self.driver.engine().now();
        self.put(Input::Holdings { executor, held: held.to_vec(), as_of });
    }

    /// Moves the clock, stopping wherever something is due.
    pub(crate) fn advance(&mut self, span: Span) {
        let target = self.now.after(span);
        while let Some(due) = self.driver.deadline().filter(|due| *due <= target) {
            self.now = self.now.max(due);
            self.put(Input::Tick);
        }
        self.now = target;
        self.put(Input::Tick);
    }

    /// The process dies; another one goes on from what is stored.
    pub(crate) fn crash(&mut self) {
        self.crash_without(Vec::new());
    }

    /// The same, and the new driver is to leave these alone.
    pub(crate) fn crash_without(&mut self, isolate: Vec<Broken>) {
        self.restart(|snapshot| snapshot.isolate(isolate));
    }

    /// The same, and what the new driver reads is changed first.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self.journal.read();
        change(&mut snapshot);
        self.driver = Driver::new(self.config.clone(), snapshot).unwrap();
        self.questions.clear();
        self.kills.clear();
        for (name, slots) in self.executors.clone() {
            self.put(Input::Executor(name, Some(slots)));
        }
        self.put(Input::Tick);
    }

    /// The same, and the new driver learns of no executor before [`Lab::executor`] introduces it.
    pub(crate) fn crash_before_executors_are_there(&mut self) {
        self.executors.clear();
        self.crash();
    }

    /// Several ends that arrive together.
    pub(crate) fn report_together<const N: usize>(&mut self, ends: [(&str, Outcome); N]) {
        let mut reports = Vec::new();
        for (name, outcome) in ends {
            let dispatch = self.run(name).dispatch().id;
            self.held.retain(|held| held.id != dispatch);
            let seq = self.seqs.entry((dispatch, 0)).or_insert(0);
            *seq += 1;
            reports.push(Report::new(dispatch, 0, *seq, News::Ended(end(outcome))));
        }
        self.put(Input::Reports(reports));
    }

    /// Sends a report with the next number of its member.
    pub(crate) fn report(&mut self, dispatch: DispatchId, member: u32, news: News) -> Report {
        let seq = self.seqs.entry((dispatch, member)).or_insert(0);
        *seq += 1;
        let report = Report::new(dispatch, member, *seq, news);
        self.put(Input::Reports(vec![report.clone()]));
        report
    }

    pub(crate) fn run_row(&self, run: &str) -> &RunRow {
        let mut rows = self.journal.runs.values().filter(|row| row.run_name.as_str() == run);
        let row = rows.next().unwrap_or_else(|| panic!("there is no run {run}\n{}", self.everything()));
        assert!(rows.next().is_none(), "several runs are called {run}");
        row
    }

    /// A stored task instance: `task` or `task[index]`.
    pub(crate) fn task_row(&self, run: &str, name: &str) -> &TaskRow {
        let (task, index) = split_index(name);
        let key = (self.run_row(run).run, task_id(task), index.unwrap_or(-1));
        self.journal.tasks.get(&key).unwrap_or_else(|| panic!("{run} has no {name}\n{}", self.everything()))
    }

    pub(crate) fn state(&self, run: &str) -> RunState {
        self.run_row(run).state
    }

    /// A run's stored task instances with their states.
    pub(crate) fn states(&self, run: &str) -> String {
        self.states_of(self.run_row(run))
    }

    fn states_of(&self, row: &RunRow) -> String {
        let states =
            self.journal.tasks_of(row.run).map(|t| format!("{}={}", named(&t.task, t.map_index), t.state));
        states.collect::<Vec<_>>().join(" ")
    }

    /// The runs of a DAG, by age, with their states.
    pub(crate) fn runs(&self, dag_id: &str) -> String {
        let mut rows: Vec<&RunRow> =
            self.journal.runs.values().filter(|row| row.dag_id.as_str() == dag_id).collect();
        rows.sort_by_key(|row| (row.created_at, row.run_after, row.run_name.clone()));
        rows.iter().map(|row| format!("{}={}", row.run_name, row.state)).collect::<Vec<_>>().join(" ")
    }

    /// All runs and instances, for messages.
    pub(crate) fn everything(&self) -> String {
        let mut text = format!("now {}\n", self.now);
        for row in self.journal.runs.values() {
            writeln!(text, "{} {}: {}: {}", row.dag_id, row.run_name, row.state, self.states_of(row))
                .unwrap();
        }
        writeln!(text, "held: {}", self.holding()).unwrap();
        text
    }

    /// The history of a task instance: the states that it went through.
    pub(crate) fn history(&self, run: &str, name: &str) -> String {
        let (task, index) = split_index(name);
        let key = Some((task_id(task), index.unwrap_or(-1)));
        let run = self.run_row(run).run;
        let rows = self.journal.events.iter().filter(|row| row.run == run);
        let steps = rows.flat_map(|row| &row.transitions).filter(|step| step.task == key);
        steps.map(|step| step.to.as_ref()).collect::<Vec<_>>().join(" ")
    }
}

/// Something that an executor holds.
pub(crate) struct Held<'a> {
    lab: &'a mut Lab,
    dispatch: Dispatch,
}

impl Held<'_> {
    pub(crate) fn dispatch(&self) -> Dispatch {
        self.dispatch.clone()
    }

    pub(crate) fn starts(self) {
        let news = News::Started { host: "h".to_owned(), pid: Some(1) };
        self.lab.report(self.dispatch.id, 0, news);
    }

    pub(crate) fn succeeds(self) {
        self.ends(&end(Outcome::Success));
    }

    /// Succeeds with a list of so many elements.
    pub(crate) fn returns(self, length: u32) {
        self.ends(&End { mapped_length: Some(length), ..end(Outcome::Success) });
    }

    pub(crate) fn fails(self) {
        self.ends(&end(Outcome::Failed));
    }

    pub(crate) fn skips(self) {
        self.ends(&end(Outcome::Skipped));
    }

    pub(crate) fn ends_as(self, outcome: Outcome) {
        self.ends(&end(outcome));
    }

    pub(crate) fn ends(self, end: &End) {
        let id = self.dispatch.id;
        self.lab.held.retain(|dispatch| dispatch.id != id);
        for member in 0..self.dispatch.members {
            self.lab.report(id, member, News::Ended(end.clone()));
        }
    }
}

/// An end of that outcome.
pub(crate) fn end(outcome: Outcome) -> End {
    End {
        outcome,
        duration: Span::seconds(1),
        exit_code: None,
        reason: None,
        result: None,
        mapped_length: None,
    }
}

fn named(task: &TaskId, index: i32) -> String {
    if index < 0 { task.to_string() } else { format!("{task}[{index}]") }
}

fn split_index(name: &str) -> (&str, Option<i32>) {
    match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        Some((task, index)) => (task, Some(index.parse().unwrap())),
        None => (name, None),
    }
}

fn matches(name: &str, run: &RunName, task: &TaskId, index: i32) -> bool {
    let (wanted, name) = name.split_once('/').map_or((None, name), |(run, name)| (Some(run), name));
    wanted.is_none_or(|wanted| wanted == run.as_str()) && name == named(task, index)
}
