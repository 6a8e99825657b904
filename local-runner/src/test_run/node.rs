//! The service around the one run: shell, executor and supervisor, from start to end.

use std::{collections::BTreeMap, io::Write, path::PathBuf, sync::Arc, time::Duration};

use dags::{
    ids::{DispatchId, ExecutorName},
    model::{Dag, Runner},
    time::Span,
};
use engine::{
    command::Command,
    dispatch::{Kill, ResultRef},
    rows::TaskRow,
    state::RunState,
};
use executor::{Executor as _, local};
use plugins::{policy::Policy, script::ScriptPool};
use scheduler::{
    clock,
    executors::{Executors, Kind, MockExecutor},
    facts::{MemoryFacts, SharedJournal},
    objects::Objects,
    shell::{self, Parts, Status},
};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Cut, EXECUTOR, Ended, Interrupt, Outcome, RECORDED, TENANT, failed, logs,
    prepare::Prepared,
    progress::{Progress, label},
    the_run,
};
use crate::{Error, terminal::duration};

/// How many tasks run at once.
const SLOTS: u32 = 16;
/// Reports that may wait.
const REPORTS_MAX: usize = 1_024;
/// The time between TERM and KILL.
const GRACE: Span = Span::seconds(5);
/// How long the end of what was killed is waited for.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What a run needs around it.
pub(super) struct Node {
    pub(super) journal: SharedJournal,
    pub(super) facts: MemoryFacts,
    pub(super) objects: Objects,
    pub(super) scripts: Option<ScriptPool>,
    pub(super) policy: Policy,
    /// The folder of everything that the run writes.
    pub(super) place: PathBuf,
    pub(super) timeout: Option<Span>,
    pub(super) all_logs: bool,
}

/// How the waiting ended.
enum Wait {
    Over,
    Cut(Cut),
}

impl Node {
    /// Runs the shell until the one run has ended, and leaves no process behind.
    pub(super) async fn run(
        self,
        prepared: Prepared,
        interrupt: &Interrupt,
        progress: &mut dyn Write,
        colour: bool,
    ) -> Result<Outcome, Error> {
        let name = ExecutorName::parse(EXECUTOR).expect("invariant: a plain word is a name");
        let (reports, received) = mpsc::channel(REPORTS_MAX);
        let mut options = local::Options::new(self.place.join("s"), &self.objects.results())
            .map_err(Error::path("find this program in", "/proc"))?;
        // A gang runs whole or not at all, so there must be room for the largest.
        let slots = prepared.dag.tasks.iter().map(|task| task.gang).fold(SLOTS, u32::max);
        options.slots = slots;
        options.arguments.push("--with-parent".into());
        let (local, service) = local::open(options, reports.clone());
        let executor = if prepared.given.is_empty() {
            Kind::Local(local.clone())
        } else {
            Kind::Mock(MockExecutor::new(local.clone(), Arc::new(prepared.given.clone()), reports))
        };
        let wake = Arc::new(Notify::new());
        let mut config = engine::Config::new(name.clone());
        config.kill_grace = GRACE;
        let parts = Parts {
            journal: self.journal.clone(),
            facts: self.facts.clone(),
            executors: Executors::from([(name.clone(), executor.clone())]),
            reports: received,
            fleet: None,
            slots: BTreeMap::from([(name.clone(), slots)]),
            objects: self.objects.clone(),
            scripts: self.scripts.clone(),
            policy: self.policy.clone(),
            config,
            isolate: Vec::new(),
            refuse: BTreeMap::new(),
            wake: wake.clone(),
            settled: std::sync::Arc::default(),
            // Whoever tries a DAG out sees what would be said; nobody else hears of it.
            alerted: std::sync::Arc::default(),
            looks: None,
            retire: None,
        };
        let (status, seen) = watch::channel(Status::default());
        let (drain, cancel, serving) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let gone = CancellationToken::new();
        let shell = async {
            let ended = Box::pin(shell::run(parts, status, drain, cancel.clone())).await;
            gone.cancel();
            ended
        };
        let work = async {
            let outcome =
                self.work(&prepared, interrupt, progress, colour, &executor, &wake, seen, &gone).await;
            let processes = end_processes(&local).await;
            cancel.cancel();
            serving.cancel();
            outcome.and_then(|outcome| processes.map(|()| outcome))
        };
        let (ended, (), outcome) =
            tokio::join!(shell, Box::pin(service.run(serving.clone())), Box::pin(work));
        match ended {
            Ok(shell::Ended::Asked) => {}
            Ok(shell::Ended::Stopped(why)) => {
                return Err(Error::Machine { doing: "run the engine", why: format!("it stopped: {why:?}") });
            }
            Ok(shell::Ended::Panicked(panic)) => {
                return Err(Error::Machine {
                    doing: "run the engine",
                    why: format!("{panic}. This is a bug"),
                });
            }
            Err(error) => return Err(Error::Machine { doing: "start the engine", why: error.to_string() }),
        }
        let mut outcome = outcome?;
        outcome.dag = prepared.dag;
        Ok(outcome)
    }

    #[expect(clippy::too_many_arguments, reason = "the two halves of one function; nobody else calls it")]
    async fn work(
        &self,
        prepared: &Prepared,
        interrupt: &Interrupt,
        out: &mut dyn Write,
        colour: bool,
        executor: &Kind,
        wake: &Notify,
        mut status: watch::Receiver<Status>,
        gone: &CancellationToken,
    ) -> Result<Outcome, Error> {
        let start = clock::now();
        let width = prepared.dag.tasks.iter().map(label_width).max().unwrap_or(0);
        let mut progress = Progress::new(start, width.min(40), colour);
        let wait = self.wait(&mut progress, interrupt, out, gone).await?;
        let cut = match wait {
            Wait::Over => None,
            Wait::Cut(cut) => {
                let run = the_run(&self.journal).and_then(|run| self.journal.lock().runs.get(&run).cloned());
                if let Some(run) = run {
                    let mark = Command::MarkRun {
                        dag_id: run.dag_id,
                        run_name: run.run_name,
                        state: RunState::Failed,
                    };
                    let who = match cut {
                        Cut::Interrupted => "Ctrl-C",
                        Cut::Timeout => "`--timeout`",
                    };
                    writeln!(out, "{who}: ending what runs; Ctrl-C kills it").map_err(unwritten)?;
                    self.journal.lock().request(TENANT, who, mark);
                    wake.notify_one();
                    // The engine ends what runs. Whoever can't wait for that asks again.
                    tokio::select! {
                        () = idle(&mut status, &self.journal) => {}
                        () = interrupt.now.cancelled() => kill_all(executor, Span::ZERO).await,
                        () = gone.cancelled() => {}
                    }
                }
                Some(cut)
            }
        };
        progress.show(&self.journal, out).map_err(unwritten)?;
        self.outcome(prepared, executor, cut, clock::now().since(start)).await
    }

    /// Waits until the run has ended or is to end, and shows what happens.
    async fn wait(
        &self,
        progress: &mut Progress,
        interrupt: &Interrupt,
        out: &mut dyn Write,
        gone: &CancellationToken,
    ) -> Result<Wait, Error> {
        let timeout = async {
            match self.timeout {
                Some(timeout) => clock::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(timeout);
        loop {
            if progress.show(&self.journal, out).is_err() {
                // Whoever read it has gone: the run is of no use to anyone.
                return Ok(Wait::Cut(Cut::Interrupted));
            }
            self.refused()?;
            let over = the_run(&self.journal)
                .and_then(|run| self.journal.lock().runs.get(&run).map(|row| row.state.is_finished()));
            if over == Some(true) {
                return Ok(Wait::Over);
            }
            tokio::select! {
                () = self.journal.committed.notified() => {}
                () = interrupt.end.cancelled() => return Ok(Wait::Cut(Cut::Interrupted)),
                () = interrupt.now.cancelled() => return Ok(Wait::Cut(Cut::Interrupted)),
                () = &mut timeout => return Ok(Wait::Cut(Cut::Timeout)),
                () = gone.cancelled() => {
                    return Err(Error::Machine { doing: "run the engine", why: "it stopped".to_owned() });
                }
            }
        }
    }

    /// Complains if a request was refused.
    fn refused(&self) -> Result<(), Error> {
        let refusal = self.journal.lock().outcomes.values().find_map(|outcome| outcome.clone().err());
        match refusal {
            Some(refusal) => Err(Error::Usage { message: refusal.message, help: None }),
            None => Ok(()),
        }
    }

    async fn outcome(
        &self,
        prepared: &Prepared,
        executor: &Kind,
        cut: Option<Cut>,
        elapsed: Span,
    ) -> Result<Outcome, Error> {
        let dag = &prepared.dag;
        let nothing =
            || Error::Machine { doing: "make the run", why: "it was ended before there was one".to_owned() };
        let run = the_run(&self.journal).ok_or_else(nothing)?;
        let (row, rows, results) = {
            let journal = self.journal.lock();
            let row = journal.runs.get(&run).cloned().ok_or_else(nothing)?;
            let rows: Vec<TaskRow> = journal.tasks_of(run).cloned().collect();
            (row, rows, journal.results.clone())
        };
        let mut tasks = Vec::with_capacity(rows.len());
        for row in in_order(dag, rows) {
            let model = dag.tasks.iter().find(|task| task.task_id == row.task);
            let instead = if prepared.left_out.contains(&row.task) {
                Some("left out")
            } else if prepared.given.recorded.contains_key(&(row.task.clone(), row.map_index)) {
                Some(RECORDED)
            } else if prepared.stubbed.contains(&row.task) {
                Some("stubbed")
            } else if prepared.given.mocks.contains_key(&row.task) {
                Some("mocked")
            } else {
                None
            };
            let wrote = instead.is_none() && model.is_some_and(|task| task.runner == Runner::Executor);
            let wanted = wrote && (self.all_logs || failed(&row));
            let log = if wanted {
                let members = model.map_or(1, |task| task.gang.max(1));
                Some(logs::read(&row, members, executor, &self.objects).await)
            } else {
                None
            };
            let result = results.get(&(run, row.task.clone(), row.map_index));
            // A result of an earlier attempt isn't this one's.
            let result = result.filter(|result| result.attempt == row.attempt()).map(|result| &result.value);
            let output = result.map(|value| self.value(value)).transpose()?;
            tasks.push(Ended { row, instead, output, log });
        }
        let notes = notes(prepared, &tasks);
        Ok(Outcome { dag: dag.clone(), run: row, tasks, elapsed: elapsed.to_std(), cut, notes })
    }

    fn value(&self, value: &ResultRef) -> Result<Value, Error> {
        match value {
            ResultRef::Inline(value) => Ok(value.clone()),
            ResultRef::Stored { digest, .. } => {
                let path = self.objects.results().join(digest);
                let text =
                    self.objects.result(digest).map_err(Error::path("read the result", path.clone()))?;
                serde_json::from_slice(&text)
                    .map_err(|error| Error::path("read the result", path)(error.into()))
            }
        }
    }
}

/// How wide the name of a task's instances is likely to be.
fn label_width(task: &dags::model::Task) -> usize {
    task.task_id.as_str().len() + if task.map.is_some() { "[0]".len() } else { 0 }
}

fn unwritten(source: std::io::Error) -> Error {
    Error::path("write to", "the standard output")(source)
}

/// The rows in an order in which the tasks can run.
pub(crate) fn in_order(dag: &Dag, mut rows: Vec<TaskRow>) -> Vec<TaskRow> {
    let order = dags::graph::Graph::of(dag).order(dag);
    let places: BTreeMap<_, usize> =
        order.iter().enumerate().map(|(place, task)| (&dag.tasks[*task].task_id, place)).collect();
    rows.sort_by_key(|row| (places.get(&row.task).copied(), row.map_index));
    rows
}

/// What differed from a run in the service, where it made a difference.
fn notes(prepared: &Prepared, tasks: &[Ended]) -> Vec<String> {
    let mut notes = Vec::new();
    let retried: Vec<String> = tasks
        .iter()
        .filter(|ended| ended.row.try_number > 1)
        .filter_map(|ended| {
            let said = prepared.shortened.get(&ended.row.task)?;
            Some(format!(
                "{} ({})",
                label(ended.row.task.as_str(), ended.row.map_index),
                duration(said.to_std())
            ))
        })
        .collect();
    if !retried.is_empty() {
        let shown = retried.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        notes.push(format!(
            "retries waited for 1s instead of what the DAG says: {shown}; `--real-delays` waits as long"
        ));
    }
    if !prepared.left_out.is_empty() {
        let n = prepared.left_out.len();
        let tasks = if n == 1 {
            "1 task that was left out counts"
        } else {
            &format!("{n} tasks that were left out count")
        };
        notes.push(format!(
            "{tasks} as successful, without a result; `--replay` takes results from a recording"
        ));
    }
    if !prepared.gone.is_empty() {
        let names = dags::suggest::list(prepared.gone.iter().map(String::as_str), "and");
        notes.push(format!("the recording has {names}, which the DAG doesn't have"));
    }
    let others = |name: &dags::ids::TaskId| {
        let operator =
            prepared.dag.tasks.iter().find(|task| task.task_id == *name).map(|task| task.operator.as_str());
        matches!(operator, Some("trigger_dag" | "task_sensor"))
    };
    if let Some(ended) =
        tasks.iter().find(|ended| failed(&ended.row) && ended.instead.is_none() && others(&ended.row.task))
    {
        let task = &ended.row.task;
        notes.push(format!("a test run knows no other DAG; `--mock {task}=success` goes on without it"));
    }
    if !prepared.elsewhere.is_empty() {
        let names = prepared.elsewhere.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        notes.push(format!("tasks for the executor {names} ran on this machine"));
    }
    notes
}

/// When nothing is under way and nothing unfinished is left.
async fn idle(status: &mut watch::Receiver<Status>, journal: &SharedJournal) {
    loop {
        let over = the_run(journal).is_none_or(|run| journal.lock().runs[&run].state.is_finished());
        if over && status.borrow_and_update().idle {
            return;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

pub(crate) async fn kill_all(executor: &Kind, grace: Span) {
    let Ok(held) = executor.list().await else { return };
    let mut running: BTreeMap<DispatchId, u32> = BTreeMap::new();
    for held in held.iter().filter(|held| !held.ended) {
        let members = running.entry(held.id).or_default();
        *members = (*members).max(held.member + 1);
    }
    for (id, members) in running {
        let name = ExecutorName::parse(EXECUTOR).expect("invariant: a plain word is a name");
        let kill = Kill {
            id,
            members,
            executor: name,
            worker: None,
            grace,
            reason: "the run was interrupted".to_owned(),
        };
        if let Err(error) = executor.kill(kill).await {
            tracing::error!(%error, "an attempt can't be ended");
        }
    }
}

/// Ends whatever still runs, and the supervisor.
pub(crate) async fn end_processes(local: &local::LocalExecutor) -> Result<(), Error> {
    let machine =
        |error: executor::Error| Error::Machine { doing: "end the supervisor", why: error.to_string() };
    let (pid, _) = local.supervisor().await.map_err(machine)?;
    let process = rustix::process::Pid::from_raw(pid as i32)
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok());
    let deadline = clock::now().after(Span(LAST_WAIT.as_micros() as i64));
    while local.close().await.is_err() {
        // It refuses while attempts run.
        kill_all(&Kind::Local(local.clone()), Span::ZERO).await;
        if clock::now() > deadline {
            break;
        }
        clock::sleep(Span::millis(10)).await;
    }
    match process {
        Some(process) => exited(process).await,
        None => Ok(()),
    }
}

/// Waits until a supervisor that was asked to end is gone, and kills it if that takes too long.
pub(crate) async fn exited(process: rustix::fd::OwnedFd) -> Result<(), Error> {
    // Nothing but the wait itself is left to do, and it is a matter of milliseconds.
    let exited = tokio::task::spawn_blocking(move || {
        let mut fds = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: LAST_WAIT.as_secs() as i64, tv_nsec: 0 };
        if rustix::event::poll(&mut fds, Some(&wait))? == 0 {
            rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL)?;
        }
        Ok::<(), rustix::io::Errno>(())
    });
    let failed = |why: String| Error::Machine { doing: "wait for the supervisor", why };
    exited.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    Ok(())
}
