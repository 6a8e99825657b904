//! What a history owes to luck: answers to questions, faults, and what people edit.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DagId, TenantId},
    time::{Span, Timestamp},
};
use engine::{
    Answer, Ask, AskPeople, IfExists, MakeRun, Question, Watch, command::Command, dispatch::ResultRef,
    driver, rows::Input,
};

use crate::{
    graphs,
    tape::Step,
    world::{Event, Outcomes, World},
};

impl World {
    pub(crate) fn answer(&mut self, owner: u64, question: &Question) {
        let answer = match question.ask {
            Ask::When if self.rng.mill(50) => Answer::Error("no such name".to_owned()),
            Ask::When => Answer::Holds(self.rng.mill(700)),
            Ask::Task => self.task_answer(question),
        };
        let times = if self.rng.mill(self.weather.network) { 2 } else { 1 };
        for _ in 0..times {
            let delay = self.latency();
            let input = Box::new(driver::Input::Answer(question.id, answer.clone()));
            self.after(delay, Event::Input { owner, input });
        }
    }

    fn task_answer(&mut self, question: &Question) -> Answer {
        if self.rng.mill(60) {
            return Answer::Error("it can't be evaluated".to_owned());
        }
        let now = Timestamp(self.clock + self.skew);
        let Some(model) = self.store.versions.get(&question.version) else { return Answer::Done };
        let Some(task) = model.tasks.iter().find(|task| task.task_id == question.task_id) else {
            return Answer::Done;
        };
        match task.operator.as_str() {
            "branch" => {
                let downs = model.tasks.iter().filter(|down| down.needs.contains(&task.task_id));
                let names: Vec<_> = downs.map(|down| down.task_id.clone()).collect();
                let all = names.clone();
                let mut chosen: Vec<_> = names.into_iter().filter(|_| self.rng.mill(500)).collect();
                if self.rng.mill(20) {
                    chosen.push(crate::models::task_id("stranger"));
                }
                let left_out = all.into_iter().filter(|name| !chosen.contains(name)).collect();
                self.facts.decided(question.id.attempt, left_out);
                Answer::Follow(chosen)
            }
            "short_circuit" if self.rng.mill(500) => Answer::Stop { direct: self.rng.mill(500) },
            // DAGs that trigger each other would never come to rest.
            "trigger_dag" if !self.calm => {
                let dag = task.args.get("dag").and_then(|name| name.as_str()).unwrap_or("d0");
                let dag_id = DagId::parse(dag).unwrap();
                let until = Some(now.after(Span(self.rng.micros(60))));
                let tasks = self.rng.mill(300);
                let watch = Watch { dag_id: dag_id.clone(), tasks, until, reason: "it waits".to_owned() };
                let key = (question.run, question.task_id.clone(), question.map_index);
                let made = self.store.results.get(&key).filter(|row| row.attempt == question.id.attempt);
                match made.map(|row| row.value.clone()) {
                    Some(ResultRef::Inline(value)) if self.rng.mill(700) => Answer::Return(value),
                    Some(_) => Answer::Watch(watch),
                    None => Answer::Trigger(Box::new(MakeRun {
                        trigger: self.random_trigger(question.tenant, &dag_id, now),
                        if_exists: *self.rng.pick(&[IfExists::Fail, IfExists::Skip, IfExists::Use]),
                        wait: self.rng.mill(500).then_some(watch),
                    })),
                }
            }
            "time" => match self.rng.below(8) {
                6 | 7 if !self.calm => {
                    let options = ["yes", "no"].map(str::to_owned);
                    let input = Input {
                        subject: "well?".to_owned(),
                        body: None,
                        defaults: self.rng.mill(500).then(|| vec!["no".to_owned()]),
                        options: options.into(),
                        multiple: self.rng.mill(300),
                        params: BTreeMap::new(),
                        assigned: Vec::new(),
                    };
                    let until = Some(now.after(Span(self.rng.micros(60))));
                    Answer::Ask(Box::new(AskPeople { input, until, notify: Vec::new() }))
                }
                0 => Answer::Skip("not today".to_owned()),
                1 | 2 => Answer::Again(now.after(Span(self.rng.micros(60)))),
                3 => Answer::Again(now.before(Span(self.rng.micros(60)))),
                _ => Answer::Done,
            },
            _ => Answer::Done,
        }
    }

    // --- faults ---

    pub(crate) fn fault(&mut self) -> Outcomes {
        if self.fleet.is_some() && self.rng.mill(600) {
            return self.fleet_fault();
        }
        let executor = self.rng.below(self.executors.len() as u64) as usize;
        match self.rng.below(9) {
            0 => {
                if let Some(owner) = self.current {
                    self.crash(owner);
                }
            }
            1 => {
                // A second driver takes over while the first still lives, and doesn't know.
                self.tally.count("takeovers", 1);
                self.current = None;
                if self.owners.len() > 2 {
                    self.owners.remove(0);
                }
                self.begin()?;
            }
            2 => {
                self.tally.count("clock jump", 1);
                self.skew += self.rng.within(-100_000_000, 100_000_000);
                let skew = self.skew;
                self.note(|| format!("the clock jumps to {skew} us ahead"));
                self.feed_current(driver::Input::Tick)?;
            }
            3 | 4 => {
                self.tally.count("executor died", 1);
                let loses = self.rng.mill(500);
                self.note(|| format!("executor {executor} dies; it loses its memory: {loses}"));
                self.executors[executor].up = false;
                if loses {
                    self.executors[executor].jobs.clear();
                    self.executors[executor].life += 1;
                }
                let delay = self.rng.micros(60);
                self.after(delay, Event::Up { executor });
            }
            5 => {
                self.tally.count("executor gone", 1);
                self.executors[executor].up = false;
                let name = self.executors[executor].name.clone();
                let delay = self.rng.micros(60);
                self.after(delay, Event::Up { executor });
                self.feed_current(driver::Input::Executor(name, None))?;
            }
            6 => {
                let slots = self.rng.within(0, 8) as u32;
                self.executors[executor].slots = slots;
                if self.executors[executor].up {
                    let name = self.executors[executor].name.clone();
                    self.feed_current(driver::Input::Executor(name, Some(slots)))?;
                }
            }
            7 => {
                // The host of one member dies.
                let jobs = self.executors.iter_mut().flat_map(|executor| executor.jobs.values_mut());
                if let Some(job) = jobs.into_iter().find(|job| job.members.len() > 1) {
                    job.members.pop_last();
                    self.tally.count("gang broken", 1);
                }
            }
            _ => self.ask_holdings(executor, false),
        }
        Ok(())
    }

    /// Puts a new edition of a DAG into the store of versions.
    pub(crate) fn edit(&mut self, tenant: TenantId, name: &str) {
        let dag_id = DagId::parse(name).unwrap();
        let others: Vec<String> = (0..3).map(|n| format!("d{n}")).filter(|other| other != name).collect();
        let known = self.editions.get(&(tenant, dag_id.clone())).map(|(_, dag)| dag.clone());
        let start = Timestamp(self.clock);
        let dag = match known {
            Some(dag) if self.rng.mill(800) => graphs::edited(&mut self.rng, &dag, self.shape),
            Some(_) | None => graphs::random(&mut self.rng, name, self.shape, start, &others),
        };
        self.next_version += 1;
        let version = crate::models::version(self.next_version);
        if self.timeline.is_some() {
            let line = graphs::sketch(&dag);
            self.note(|| format!("version {version} of {name}:\n{line}"));
        }
        let dag = Arc::new(dag);
        self.store.versions.insert(version.clone(), dag.clone());
        self.editions.insert((tenant, dag_id), (version, dag));
    }

    pub(crate) fn request(&mut self, tenant: TenantId, command: Command) {
        let id = self.store.request(tenant, "someone", command.clone());
        self.tape(|| Step::Request(id, tenant, command));
        let text = format!("{:?}", self.store.waiting[&id].command);
        self.note(|| format!("request {id}: {text}"));
    }
}
