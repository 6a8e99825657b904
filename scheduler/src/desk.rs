//! Answers the engine's questions: conditions, branches, triggers, and waits for times and other DAGs.
//!
//! Expressions are evaluated by `updraft-script`, never here.

use std::collections::BTreeSet;

use dags::{
    ids::{DagId, RunName, TaskId},
    model::Task,
    time::{Span, Timestamp},
};
use engine::{Answer, Ask, Question, command::Trigger, rows::TaskRow};
use plugins::{
    context::AttemptContext,
    flow::{Branch, IfExists, ShortCircuit, TaskSensor, TimeSensor, TriggerDag},
    policy::Policy,
    script::{Field, ScriptPool},
    template,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    clock,
    context::{self, Wanted},
    facts::Facts,
    objects::Objects,
};

/// How often another DAG's run is looked at.
const LOOK_AGAIN: Span = Span::seconds(5);

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) struct Desk<F> {
    pub(crate) facts: F,
    pub(crate) objects: Objects,
    pub(crate) scripts: Option<ScriptPool>,
    pub(crate) policy: Policy,
}

impl<F: Facts> Desk<F> {
    /// The answer to a question. Something that couldn't be looked up is tried again.
    pub(crate) async fn answer(&self, question: &Question) -> Answer {
        let mut wait = Span::millis(100);
        loop {
            match self.try_answer(question).await {
                Ok(answer) => return answer,
                Err(Refused::Now(error)) => {
                    let (run, task) = (&question.run, &question.task_id);
                    tracing::warn!(run.id = %run, task.id = %task, %error, "a question waits");
                    clock::sleep(wait).await;
                    wait = Span((wait.0 * 2).min(Span::seconds(5).0));
                }
                Err(Refused::Always(reason)) => return Answer::Error(reason),
            }
        }
    }

    async fn try_answer(&self, question: &Question) -> Result<Answer, Refused> {
        let wanted = Wanted {
            tenant: question.tenant,
            run: question.run,
            version: &question.version,
            task_id: &question.task_id,
            map_index: question.map_index,
            try_number: question.try_number,
            dispatch: question.id,
            waited: Span::ZERO,
        };
        let found = self.facts.run(question.tenant, question.run, &question.version).await?;
        let (_, dag) = found.ok_or_else(|| Refused::Always("the run is gone".to_owned()))?;
        let task = dag.tasks.iter().find(|task| task.task_id == question.task_id);
        let task = task.ok_or_else(|| Refused::Always("the task is gone".to_owned()))?;
        let ctx = context::build(&self.facts, &self.objects, &self.policy, wanted).await?;
        let names = template::names(&ctx);
        if question.ask == Ask::When {
            let when = task.when.as_deref().unwrap_or("true");
            return Ok(Answer::Holds(self.holds(question, when, &names).await?));
        }
        match task.operator.as_str() {
            "branch" => self.branch(question, task, &names).await,
            "short_circuit" => {
                let args: ShortCircuit = read(&task.args)?;
                let holds = self.holds(question, &args.when, &names).await?;
                Ok(if holds { Answer::Done } else { Answer::Stop { direct: !args.ignore_downstream_rules } })
            }
            "trigger_dag" => {
                let args: TriggerDag = read(&self.rendered(question, task, &names).await?)?;
                trigger(&args)
            }
            "time_sensor" => {
                let args: TimeSensor = read(&self.rendered(question, task, &names).await?)?;
                until(&args, &ctx)
            }
            "task_sensor" => {
                let args: TaskSensor = read(&self.rendered(question, task, &names).await?)?;
                self.look_at_tasks(question, &args, &ctx).await
            }
            other => Err(Refused::Always(format!("the engine can't run operator `{other}`"))),
        }
    }

    async fn holds(&self, question: &Question, expression: &str, names: &Value) -> Result<bool, Refused> {
        let scripts = self.scripts()?;
        let value = scripts.eval(question.tenant, expression, names).await.map_err(|error| script(&error))?;
        Ok(template::truthy(&value))
    }

    fn scripts(&self) -> Result<&ScriptPool, Refused> {
        self.scripts.as_ref().ok_or_else(|| {
            let program = plugins::script::PROGRAM;
            Refused::Always(format!(
                "expressions can't be evaluated: the program `{program}` isn't beside this one"
            ))
        })
    }

    async fn rendered(
        &self,
        question: &Question,
        task: &Task,
        names: &Value,
    ) -> Result<serde_json::Map<String, Value>, Refused> {
        let mut args = task.args.clone();
        let templated: Vec<&String> = task.templated.iter().filter(|name| args.contains_key(*name)).collect();
        if templated.is_empty() {
            return Ok(args);
        }
        let fields: Vec<Field> =
            templated.iter().map(|name| Field { source: args[*name].clone(), code: false }).collect();
        let values =
            self.scripts()?.render(question.tenant, &fields, names).await.map_err(|error| script(&error))?;
        for (name, value) in templated.into_iter().zip(values) {
            let value = value.map_err(|fault| Refused::Always(format!("`{name}`: {fault}")))?;
            args.insert(name.clone(), value);
        }
        Ok(args)
    }

    async fn branch(&self, question: &Question, task: &Task, names: &Value) -> Result<Answer, Refused> {
        let args: Branch = read(&task.args)?;
        for case in &args.cases {
            let holds = match &case.when {
                Some(when) => self.holds(question, when, names).await?,
                None => true,
            };
            if holds {
                let chosen = case.run.as_ref().or(case.otherwise.as_ref());
                let chosen = chosen.map(plugins::flow::Names::as_slice).unwrap_or_default();
                return Ok(Answer::Follow(parse_all(chosen)?));
            }
        }
        Ok(Answer::Follow(Vec::new()))
    }

    async fn look_at_tasks(
        &self,
        question: &Question,
        args: &TaskSensor,
        ctx: &AttemptContext,
    ) -> Result<Answer, Refused> {
        let now = clock::now();
        let Some(date) = ctx.run.logical_date else {
            return Err(Refused::Always(
                "the run stands for no date, so no run of another DAG belongs to it".to_owned(),
            ));
        };
        let date = date.before(args.offset.unwrap_or_default());
        let wanted: Vec<TaskId> =
            args.task_id.as_ref().map(|names| parse_all(names.as_slice())).transpose()?.unwrap_or_default();
        if args.check_existence {
            self.check_existence(question, &args.dag_id, &wanted).await?;
        }
        if let Some((run, tasks)) = self.facts.run_at(question.tenant, &args.dag_id, date).await? {
            let states: Vec<&str> = if wanted.is_empty() {
                vec![run.state.as_str()]
            } else {
                of(&tasks, &wanted).map(|row| row.state.as_str()).collect()
            };
            if let Some(state) = states.iter().find(|state| args.failed_states.iter().any(|s| s == **state)) {
                return Err(Refused::Always(format!("what it waits for in `{}` is {state}", args.dag_id)));
            }
            if !states.is_empty() && states.iter().all(|state| args.states.iter().any(|s| s == *state)) {
                return Ok(Answer::Done);
            }
        }
        let since = question.started_at.unwrap_or(now);
        if now >= since.after(args.timeout) {
            let reason = format!("it waited for `{}` for {}", args.dag_id, args.timeout);
            return if args.soft_fail { Ok(Answer::Skip(reason)) } else { Err(Refused::Always(reason)) };
        }
        Ok(Answer::Again(now.after(LOOK_AGAIN)))
    }

    async fn check_existence(
        &self,
        question: &Question,
        dag_id: &DagId,
        wanted: &[TaskId],
    ) -> Result<(), Refused> {
        let known = self.facts.tasks_of(question.tenant, dag_id).await?;
        let known: BTreeSet<TaskId> =
            known.ok_or_else(|| Refused::Always(format!("there is no DAG `{dag_id}`")))?;
        match wanted.iter().find(|task| !known.contains(*task)) {
            Some(task) => Err(Refused::Always(format!("`{dag_id}` has no task `{task}`"))),
            None => Ok(()),
        }
    }
}

fn of<'t>(tasks: &'t [TaskRow], wanted: &'t [TaskId]) -> impl Iterator<Item = &'t TaskRow> {
    tasks.iter().filter(|row| wanted.contains(&row.task))
}

/// Why there is no answer.
enum Refused {
    /// Something couldn't be looked up or evaluated now: try again.
    Now(String),
    /// There never will be one.
    Always(String),
}

impl From<crate::facts::Error> for Refused {
    fn from(error: crate::facts::Error) -> Self {
        Self::Now(chain(&error))
    }
}

impl From<context::Error> for Refused {
    fn from(error: context::Error) -> Self {
        match error {
            context::Error::Facts(error) => Self::Now(chain(&error)),
            context::Error::Missing(reason) => Self::Always(reason),
        }
    }
}

/// Only the author's fault is final; a pool that is busy or a helper that died is asked again.
fn script(error: &plugins::script::Error) -> Refused {
    use plugins::script::Error as E;
    match error {
        E::Busy(_) | E::Died(_) | E::Start(..) => Refused::Now(chain(error)),
        E::Fault(_) | E::Missing(_) | E::Sandbox { .. } | E::Protocol(_) => Refused::Always(chain(error)),
    }
}

/// An error with what is behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn read<T: DeserializeOwned>(args: &serde_json::Map<String, Value>) -> Result<T, Refused> {
    serde_json::from_value(Value::Object(args.clone())).map_err(|error| Refused::Always(error.to_string()))
}

fn parse_all(names: &[String]) -> Result<Vec<TaskId>, Refused> {
    let parse = |name: &String| TaskId::parse(name).map_err(|e| Refused::Always(format!("{name:?} {e}")));
    names.iter().map(parse).collect()
}

fn trigger(args: &TriggerDag) -> Result<Answer, Refused> {
    if args.wait || args.if_exists != IfExists::Fail {
        let reason = "`wait` and `if_exists` aren't supported by this release";
        return Err(Refused::Always(reason.to_owned()));
    }
    let parse =
        |name: &String| RunName::parse(name).map_err(|e| Refused::Always(format!("`run_id` {name:?} {e}")));
    let date = |text: &String| {
        text.parse::<Timestamp>().map_err(|e| Refused::Always(format!("`logical_date` {text:?}: {e}")))
    };
    Ok(Answer::Trigger(Box::new(Trigger {
        dag_id: args.dag_id.clone(),
        run_name: args.run_id.as_ref().map(parse).transpose()?,
        logical_date: args.logical_date.as_ref().map(date).transpose()?,
        run_after: None,
        conf: args.conf.clone(),
        note: None,
    })))
}

fn until(args: &TimeSensor, ctx: &AttemptContext) -> Result<Answer, Refused> {
    let when = match (&args.at, args.after) {
        (Some(at), _) => match at.parse::<Timestamp>() {
            Ok(instant) => instant,
            Err(_) => dags::time::time_of_day(at, &ctx.run.timezone, ctx.run.run_after)
                .map_err(|error| Refused::Always(error.to_string()))?,
        },
        (None, Some(after)) => ctx.run.data_interval_end.unwrap_or(ctx.run.run_after).after(after),
        (None, None) => return Err(Refused::Always("`at` or `after` is needed".to_owned())),
    };
    Ok(if clock::now() >= when { Answer::Done } else { Answer::Again(when) })
}
