//! The loop of one author: what changes is run, and what runs is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
};

use api::{LogOf, Objects as _, Stream};
use dags::{
    bundle::File,
    diagnostic::Severity,
    ids::{DagId, DispatchId, RunName},
    model::Dag,
    time::{Span, Timestamp},
};
use engine::{
    command::{Command, Trigger},
    rows::{ResultRow, TaskRow},
    state::{RunState, TaskState},
};
use local_runner::{
    dev::{
        lines::Lines,
        reuse::{Keys, Memory, Plan, Replays, Shared, keys, perhaps_written},
        run::Run,
        screen::View,
        terminal::{Key, Terminal},
    },
    missing::{self, Missing},
    terminal::{Tone, paint},
    validate::draw,
};
use migrations::store::{self, Window};
use scheduler::{
    clock,
    shell::Status,
    watch::{Active, Error as WatchError, Found},
};
use tokio::sync::{mpsc, watch};

use super::{
    super::{Stop, objects::NodeObjects, scheduling::Scheduling},
    Options, SCOPE,
};
use crate::console::print;

/// How often logs are looked at while something runs.
const LOOK: Span = Span::millis(100);
/// How far a file system's clock may be from the system's.
const CLOCKS: Span = Span::millis(20);
const ALL: Window = Window { limit: 100_000, offset: 0 };

/// A run that this session made.
struct Made {
    name: RunName,
    dag: Arc<Dag>,
    keys: Keys,
    plan: Plan,
    /// The request for it.
    ticket: i64,
    /// When it was asked for, and since when it is known to be over.
    during: (Timestamp, Option<Timestamp>),
}

impl Made {
    fn went_on_at(&self, at: Timestamp) -> bool {
        let (from, to) = (self.during.0.before(CLOCKS), self.during.1.map(|to| to.after(CLOCKS)));
        at >= from && to.is_none_or(|to| at <= to)
    }
}

/// The session.
pub(super) struct Session<'a> {
    node: &'a Scheduling,
    objects: NodeObjects,
    replays: Arc<Replays>,
    options: Options,
    /// A folder that goes with the session and that nobody else can read.
    scratch: PathBuf,
    terminal: Option<Terminal>,
    view: View,
    lines: Lines,
    memory: Memory,
    active: BTreeMap<DagId, Active>,
    shared: Option<Shared>,
    files: Vec<File>,
    /// Files that tasks write into the folder themselves.
    written: BTreeSet<String>,
    /// What was said to be missing.
    lacks: BTreeMap<DagId, Missing>,
    /// The last run of each DAG.
    made: BTreeMap<DagId, Made>,
    /// How many there were.
    count: u32,
    shown: Option<DagId>,
    /// How much of each log was shown.
    logs: BTreeMap<(DispatchId, u32), Option<u64>>,
    /// Runs that were asked for with `--run` and haven't begun.
    wanted: BTreeSet<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        node: &'a Scheduling,
        objects: NodeObjects,
        replays: Arc<Replays>,
        options: Options,
        (console, scratch): (String, PathBuf),
        terminal: Option<Terminal>,
    ) -> Self {
        let view = View { folder: options.folder.display().to_string(), console, ..View::default() };
        let wanted = options.run.iter().cloned().collect();
        Self {
            node,
            objects,
            replays,
            options,
            scratch,
            terminal,
            view,
            lines: Lines::default(),
            memory: Memory::default(),
            active: BTreeMap::new(),
            shared: None,
            files: Vec::new(),
            written: BTreeSet::new(),
            lacks: BTreeMap::new(),
            made: BTreeMap::new(),
            count: 0,
            shown: None,
            logs: BTreeMap::new(),
            wanted,
        }
    }

    /// Goes on until somebody wants to leave.
    pub(super) async fn run(
        &mut self,
        mut found: mpsc::UnboundedReceiver<Result<Found, WatchError>>,
        mut changes: watch::Receiver<Status>,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        self.say(format!("console: {}", self.view.console))?;
        loop {
            self.draw()?;
            let live =
                self.view.run.as_ref().is_none_or(|run| !run.state.is_finished()) && self.shown.is_some();
            tokio::select! {
                Some(found) = found.recv() => self.found(found).await?,
                Ok(()) = changes.changed() => self.look().await?,
                key = key(&mut self.terminal) => if !self.press(key).await? {
                    return Ok(());
                },
                () = clock::sleep(LOOK), if live => self.look().await?,
                () = stop.drain.cancelled() => return Ok(()),
            }
        }
    }

    fn say(&mut self, line: String) -> anyhow::Result<()> {
        if self.terminal.is_some() {
            line.lines().for_each(|line| self.view.push(line.to_owned()));
            return Ok(());
        }
        Ok(print(&format!("{line}\n"))?)
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let (width, height) = terminal.size();
        Ok(terminal.draw(&self.view.frame(clock::now(), width, height, self.options.colour))?)
    }

    /// Something in the folder has changed.
    async fn found(&mut self, found: Result<Found, WatchError>) -> anyhow::Result<()> {
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.say(format!("the folder can't be used: {}", error.explain())),
        };
        self.problems(&found)?;
        self.leave_out_what_runs_wrote(&found).await?;
        let shared = Shared::of(found.active.iter().map(|active| &*active.dag), &found.files, &self.written);
        self.files = found.files;
        let before = std::mem::take(&mut self.active);
        self.active = found.active.into_iter().map(|active| (active.dag.dag_id.clone(), active)).collect();
        self.view.dags = self.active.iter().map(|(name, active)| (name.clone(), active.broken)).collect();
        if self.view.chosen.as_ref().is_none_or(|chosen| !self.active.contains_key(chosen)) {
            self.view.chosen = self.active.keys().next().cloned();
        }
        let was = self.shared.replace(shared.clone());
        let mut next = Vec::new();
        for (name, active) in self.active.iter().filter(|(_, active)| !active.broken) {
            let keys = keys(&active.dag, &self.options.conf, &shared);
            let changed = match (self.made.get(name), before.get(name), &was) {
                (Some(made), ..) => made.keys != keys,
                (None, Some(before), Some(was)) => {
                    let old = local_runner::dev::reuse::keys(&before.dag, &self.options.conf, was);
                    old != keys && self.has_run(name).await?
                }
                (None, ..) => false,
            };
            let only =
                !self.options.run.is_empty() && !self.options.run.iter().any(|run| run == name.as_str());
            if self.wanted.contains(name.as_str()) || changed && !only {
                next.push(name.clone());
            }
        }
        for name in next {
            self.wanted.remove(name.as_str());
            self.start(&name, !self.options.no_reuse).await?;
        }
        if found.diagnostics.iter().all(|(problem, _)| problem.severity != Severity::Error)
            && let Some(missing) = self.wanted.pop_first()
        {
            let known = self.active.keys().map(DagId::as_str);
            let help = dags::suggest::did_you_mean(&missing, known.clone())
                .unwrap_or_else(|| format!("its DAGs are {}", dags::suggest::list(known, "and")));
            anyhow::bail!("`--run {missing}`: the folder has no such DAG; {help}");
        }
        Ok(())
    }

    /// A run that writes into the folder would be the reason for the next one, for ever.
    async fn leave_out_what_runs_wrote(&mut self, found: &Found) -> anyhow::Result<()> {
        let dags = found.active.iter().map(|active| &*active.dag);
        let changed = perhaps_written(dags, &self.files, &found.files);
        if changed.is_empty() {
            return Ok(());
        }
        for (dag, made) in &mut self.made {
            if made.during.1.is_none() {
                let row = store::run::by_name(&self.node.db, SCOPE, dag, &made.name).await?;
                made.during.1 = row.and_then(|row| row.ended_at);
            }
        }
        let mut new = Vec::new();
        for path in changed {
            let modified = self.options.folder.join(path).metadata().and_then(|meta| meta.modified());
            // A file that is gone again is no reason to run anything either: the next look shows it.
            let Ok(modified) = modified else { continue };
            let at = clock::of(modified);
            if let Some((dag, _)) = self.made.iter().find(|(_, made)| made.went_on_at(at))
                && self.written.insert(path.to_owned())
            {
                new.push((path.to_owned(), dag.clone()));
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let shared = Shared::of(self.active.values().map(|active| &*active.dag), &self.files, &self.written);
        for (dag, made) in &mut self.made {
            let keys = keys(&made.dag, &self.options.conf, &shared);
            self.memory.rekey(dag, &made.keys, &keys);
            made.keys = keys;
        }
        self.shared = Some(shared);
        for (path, dag) in new {
            self.say(format!(
                "{path} changed while `{dag}` ran: it is taken for what tasks write, and starts no runs"
            ))?;
        }
        Ok(())
    }

    /// Shows what is wrong with files, if that is news.
    fn problems(&mut self, found: &Found) -> anyhow::Result<()> {
        let colour = self.options.colour;
        let text: String =
            found.diagnostics.iter().map(|(problem, source)| draw(problem, source, colour)).collect();
        if text == self.view.problems {
            return Ok(());
        }
        let mended = text.is_empty();
        self.view.problems.clone_from(&text);
        if self.terminal.is_some() {
            return Ok(());
        }
        if mended {
            return self.say(paint("nothing is wrong any more", Tone::Good, colour));
        }
        self.say(text.trim_end().to_owned())
    }

    /// Whether somebody has run the DAG, by hand or otherwise.
    async fn has_run(&self, dag: &DagId) -> anyhow::Result<bool> {
        let filter = store::run::RunFilter { dag_id: Some(dag.clone()), ..Default::default() };
        let runs = store::run::list(&self.node.db, SCOPE, &filter, Window { limit: 1, offset: 0 }).await?;
        Ok(runs.total > 0)
    }

    async fn ask(&self, command: &Command) -> anyhow::Result<i64> {
        let ticket = store::inbox::insert(&self.node.db, SCOPE, "author", command, None).await?;
        self.node.wake.notify_one();
        Ok(ticket.id)
    }

    /// Runs a DAG; an earlier run of it that goes on is ended first.
    async fn start(&mut self, dag_id: &DagId, reuse: bool) -> anyhow::Result<()> {
        let (Some(active), Some(shared)) = (self.active.get(dag_id), &self.shared) else { return Ok(()) };
        let dag = active.dag.clone();
        let keys = keys(&dag, &self.options.conf, shared);
        if let Some(made) = self.made.get(dag_id) {
            let row = store::run::by_name(&self.node.db, SCOPE, dag_id, &made.name).await?;
            let goes_on = row.as_ref().is_none_or(|row| !row.state.is_finished());
            if let Some(row) = row {
                let (rows, results) = self.rows(row.run, &made.dag).await?;
                self.memory.learn(&made.dag, &made.keys, &rows, &results);
            }
            if goes_on {
                // It may be on its way still: what is asked for later is done later.
                let (dag_id, run_name) = (dag_id.clone(), made.name.clone());
                self.ask(&Command::MarkRun { dag_id, run_name, state: RunState::Failed }).await?;
            }
        }
        if !reuse {
            self.memory.forget(dag_id);
        }
        // Tasks of a pool that nobody has made would wait for it.
        for pool in dag.tasks.iter().map(|task| &task.pool).collect::<BTreeSet<_>>() {
            let known = store::pool::get(&self.node.db, SCOPE, pool).await?;
            if known.is_none() && pool.as_str() != "default_pool" {
                self.ask(&Command::SetPool { name: pool.clone(), slots: -1, include_deferred: false })
                    .await?;
            }
        }
        self.missing(&dag).await?;
        let plan = self.memory.plan(&dag, &keys);
        self.count += 1;
        let name: RunName = format!("dev-{}", self.count).parse()?;
        self.replays.expect(dag_id.clone(), name.clone(), plan.clone());
        // No two runs of a DAG stand for the same instant.
        let date = self.options.date.map(|date| date.after(Span::millis(i64::from(self.count) - 1)));
        let trigger = Trigger {
            dag_id: dag_id.clone(),
            run_name: Some(name.clone()),
            logical_date: Some(date.unwrap_or_else(clock::now)),
            run_after: None,
            conf: self.options.conf.clone(),
            note: None,
            chain_depth: 0,
        };
        let asked = clock::now();
        let ticket = self.ask(&Command::Trigger(trigger)).await?;
        self.made.insert(dag_id.clone(), Made { name, dag, keys, plan, ticket, during: (asked, None) });
        self.view.chosen = Some(dag_id.clone());
        self.view.run = None;
        self.shown = Some(dag_id.clone());
        Ok(())
    }

    /// Says what a run will lack, unless that was said.
    async fn missing(&mut self, dag: &Dag) -> anyhow::Result<()> {
        let variables = store::variable::list(&self.node.db, SCOPE).await?;
        let connections = store::connection::list(&self.node.db, SCOPE).await?;
        let lacks = missing::of(
            &dag.tasks,
            |path| std::fs::read_to_string(self.options.folder.join(path)).ok(),
            &variables.iter().map(|variable| variable.name.as_str()).collect(),
            &connections.iter().map(|connection| connection.name.as_str()).collect(),
        );
        if let Some(Missing { what, options }) = &lacks
            && self.lacks.get(&dag.dag_id) != lacks.as_ref()
        {
            let line = format!("`{}` has no value for {what}: start again with {options}", dag.dag_id);
            self.say(paint(&line, Tone::Bad, self.options.colour))?;
        }
        match lacks {
            Some(lacks) => _ = self.lacks.insert(dag.dag_id.clone(), lacks),
            None => _ = self.lacks.remove(&dag.dag_id),
        }
        Ok(())
    }

    async fn rows(&self, run: dags::ids::RunId, dag: &Dag) -> anyhow::Result<(Vec<TaskRow>, Vec<ResultRow>)> {
        let rows =
            store::task_instance::list(&self.node.db, SCOPE, run, &Default::default(), ALL).await?.rows;
        let mut results = Vec::new();
        for task in &dag.tasks {
            results.extend(store::result::of_task(&self.node.db, SCOPE, run, &task.task_id).await?);
        }
        Ok((rows, results))
    }

    /// Shows how the run goes.
    async fn look(&mut self) -> anyhow::Result<()> {
        let Some((dag_id, made)) = self.shown.as_ref().and_then(|dag| self.made.get_key_value(dag)) else {
            return Ok(());
        };
        let Some(row) = store::run::by_name(&self.node.db, SCOPE, dag_id, &made.name).await? else {
            let asked = store::inbox::progress(&self.node.db, SCOPE, made.ticket).await?;
            if let store::inbox::Progress::Taken { outcome: Err(refusal), .. } = asked {
                self.shown = None;
                self.say(format!("it can't run: {}", refusal.message))?;
            }
            return Ok(());
        };
        let rows =
            store::task_instance::list(&self.node.db, SCOPE, row.run, &Default::default(), ALL).await?.rows;
        let run = Run::of(&made.dag, &row, rows, &made.plan);
        if self.view.run.as_ref() == Some(&run) && run.state.is_finished() {
            return Ok(());
        }
        let (dag_id, over) = (dag_id.clone(), run.state.is_finished());
        self.logs(&run).await?;
        if self.terminal.is_none() {
            for line in self.lines.news(&run, self.options.colour) {
                self.say(line)?;
            }
        }
        self.view.run = Some(run);
        if over && let Some(made) = self.made.get(&dag_id) {
            let (rows, results) = self.rows(row.run, &made.dag).await?;
            self.memory.learn(&made.dag, &made.keys, &rows, &results);
        }
        Ok(())
    }

    /// Shows what tasks have written since.
    async fn logs(&mut self, run: &Run) -> anyhow::Result<()> {
        for instance in run.instances.iter().filter(|instance| !instance.unchanged) {
            let row = &instance.row;
            if row.dispatch_n == 0 || row.started_at.is_none() {
                continue;
            }
            let dispatch = DispatchId { attempt: row.attempt(), n: row.dispatch_n };
            for member in 0..row.members.max(1) {
                let mut offset = match self.logs.get(&(dispatch, member)) {
                    Some(None) => continue,
                    Some(Some(offset)) => *offset,
                    None => 0,
                };
                let over = !matches!(row.state, TaskState::Running | TaskState::Restarting);
                loop {
                    let of =
                        LogOf { tenant: row.tenant, dispatch, member, executor: row.executor.clone(), over };
                    // It is on its way from the executor to where logs are kept: the next look finds it.
                    let Ok(chunk) = self.objects.log(&of, offset).await else { break };
                    for line in &chunk.lines {
                        let from = if line.stream == Stream::Supervisor { "[updraft] " } else { "" };
                        let name = paint(&format!("{} |", instance.label), Tone::Dim, self.options.colour);
                        self.say(format!("{name} {from}{}", line.text))?;
                    }
                    let more = chunk.next > offset && !chunk.complete;
                    offset = chunk.next;
                    let done = chunk.complete || over && !more;
                    self.logs.insert((dispatch, member), (!done).then_some(offset));
                    if !more {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// A page that leads to the console. Whoever sees the arguments of a browser must not see the link, which signs in.
    fn page(&self) -> anyhow::Result<PathBuf> {
        let path = self.scratch.join("console.html");
        let text = format!("<meta http-equiv=\"refresh\" content=\"0;url={}\">\n", self.view.console);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Does what a key says. False if it says to leave.
    async fn press(&mut self, key: Key) -> anyhow::Result<bool> {
        match key {
            Key::Quit => return Ok(false),
            Key::Redraw => {}
            Key::Log => self.view.log_hidden = !self.view.log_hidden,
            Key::Run | Key::Clear => {
                if let Some(dag) = self.view.chosen.clone() {
                    self.start(&dag, key == Key::Run && !self.options.no_reuse).await?;
                }
            }
            Key::Next => {
                let chosen = self.view.chosen.take();
                let mut later =
                    self.active.keys().skip_while(|dag| chosen.as_ref().is_some_and(|c| *dag <= c));
                self.view.chosen = later.next().or_else(|| self.active.keys().next()).cloned();
                self.view.run = None;
                self.shown = self.view.chosen.clone().filter(|dag| self.made.contains_key(dag));
                self.look().await?;
            }
            Key::Open => {
                let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
                let mut command = tokio::process::Command::new(program);
                command.arg(self.page()?).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                if let Err(error) = command.spawn() {
                    self.say(format!("`{program}` doesn't start ({error}): open {}", self.view.console))?;
                }
            }
        }
        Ok(true)
    }
}

/// The next key; never without a terminal.
async fn key(terminal: &mut Option<Terminal>) -> Key {
    match terminal {
        Some(terminal) => terminal.key().await,
        None => std::future::pending().await,
    }
}
