//! Runs of other DAGs, made and waited for, and waits for times.
//!
//! Nothing here looks twice: the engine asks again when there is news of the DAG, or when the time has come.

use std::collections::BTreeSet;

use dags::{
    ids::{DagId, RunName, TaskId},
    model::Task,
    time::Timestamp,
};
use engine::{Answer, IfExists, MakeRun, Question, Watch, command::Trigger, rows::TaskRow, state::RunState};
use plugins::{
    context::AttemptContext,
    flow::{self, TaskSensor, TimeSensor, TriggerDag},
};
use serde_json::{Value, json};

use super::{Desk, Refused, parse_all};
use crate::facts::Facts;

impl<F: Facts> Desk<F> {
    /// The first time a run is asked for; later, when the task waits, the run is looked at.
    pub(super) async fn trigger(
        &self,
        question: &Question,
        task: &Task,
        args: TriggerDag,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let limit = Limit::of(question, task, args.timeout, now);
        match self
            .facts
            .own_result(question.tenant, question.run, &question.task_id, question.map_index)
            .await?
        {
            Some(made) => self.look_at_run(question, &made, limit).await,
            None => make_run(args, limit),
        }
    }

    async fn look_at_run(&self, question: &Question, made: &Value, limit: Limit) -> Result<Answer, Refused> {
        let named = |field: &str| made[field].as_str().unwrap_or_default();
        let lost =
            || Refused::Always("what it stored about the run that it started can't be read".to_owned());
        let dag_id = DagId::parse(named("dag_id")).map_err(|_| lost())?;
        let name = RunName::parse(named("run_id")).map_err(|_| lost())?;
        match self.facts.state_of(question.tenant, &dag_id, &name).await? {
            Some(RunState::Success) => {
                Ok(Answer::Return(json!({ "dag_id": dag_id, "run_id": name, "state": "success" })))
            }
            Some(RunState::Failed) => Err(Refused::Always(format!("run `{name}` of `{dag_id}` failed"))),
            Some(RunState::Queued | RunState::Running) => {
                limit.check(|| {
                    Refused::Always(format!("run `{name}` of `{dag_id}` hasn't ended {}", limit.words()))
                })?;
                Ok(Answer::Watch(waits_for_run(dag_id, limit)))
            }
            None => {
                Err(Refused::Always(format!("run `{name}` of `{dag_id}`, which it waits for, was deleted")))
            }
        }
    }

    pub(super) async fn look_at_tasks(
        &self,
        question: &Question,
        task: &Task,
        args: &TaskSensor,
        ctx: &AttemptContext,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
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
        let limit = Limit::of(question, task, Some(args.timeout), now);
        let reason = || {
            format!("the run of `{}` for {date} isn't there or hasn't ended {}", args.dag_id, limit.words())
        };
        if limit.is_over() && !limit.of_attempt && args.soft_fail {
            return Ok(Answer::Skip(reason()));
        }
        limit.check(
            || {
                if limit.of_attempt { Refused::Always(reason()) } else { Refused::ForGood(reason()) }
            },
        )?;
        Ok(Answer::Watch(Watch {
            dag_id: args.dag_id.clone(),
            tasks: !wanted.is_empty(),
            until: limit.until,
            reason: format!("it waits for the run of `{}` for {date}", args.dag_id),
        }))
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

/// Until when a task may wait: by its operator's own timeout and by its `timeout`, both from the try's first start.
#[derive(Debug, Clone, Copy)]
struct Limit {
    until: Option<Timestamp>,
    /// Whether it is the task's `timeout` that ends first.
    of_attempt: bool,
    span: dags::time::Span,
    now: Timestamp,
}

impl Limit {
    fn of(question: &Question, task: &Task, own: Option<dags::time::Span>, now: Timestamp) -> Self {
        let start = question.started_at.unwrap_or(now);
        let of_attempt = match (own, task.timeout) {
            (Some(own), Some(timeout)) => timeout < own,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let span = if of_attempt { task.timeout } else { own };
        Self { until: span.map(|span| start.after(span)), of_attempt, span: span.unwrap_or_default(), now }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| self.now >= until)
    }

    fn check(&self, otherwise: impl FnOnce() -> Refused) -> Result<(), Refused> {
        if self.is_over() { Err(otherwise()) } else { Ok(()) }
    }

    fn words(&self) -> String {
        if self.of_attempt {
            format!("within the task's `timeout` of {}", self.span)
        } else {
            format!("within {}", self.span)
        }
    }
}

fn waits_for_run(dag_id: DagId, limit: Limit) -> Watch {
    let reason = format!("it waits for the run of `{dag_id}` that it started");
    Watch { dag_id, tasks: false, until: limit.until, reason }
}

fn make_run(args: TriggerDag, limit: Limit) -> Result<Answer, Refused> {
    let parse =
        |name: &String| RunName::parse(name).map_err(|e| Refused::Always(format!("`run_id` {name:?} {e}")));
    let date = |text: &String| {
        text.parse::<Timestamp>().map_err(|e| Refused::Always(format!("`logical_date` {text:?}: {e}")))
    };
    Ok(Answer::Trigger(Box::new(MakeRun {
        if_exists: match args.if_exists {
            flow::IfExists::Fail => IfExists::Fail,
            flow::IfExists::Skip => IfExists::Skip,
            flow::IfExists::Use => IfExists::Use,
        },
        wait: args.wait.then(|| waits_for_run(args.dag_id.clone(), limit)),
        trigger: Trigger {
            run_name: args.run_id.as_ref().map(parse).transpose()?,
            logical_date: args.logical_date.as_ref().map(date).transpose()?,
            dag_id: args.dag_id,
            run_after: None,
            conf: args.conf,
            note: None,
            chain_depth: 0,
        },
    })))
}

pub(super) fn until(
    question: &Question,
    task: &Task,
    args: &TimeSensor,
    ctx: &AttemptContext,
    now: Timestamp,
) -> Result<Answer, Refused> {
    let when = match (&args.at, args.after) {
        (Some(at), _) => match at.parse::<Timestamp>() {
            Ok(instant) => instant,
            Err(_) => dags::time::time_of_day(at, &ctx.run.timezone, ctx.run.run_after)
                .map_err(|error| Refused::Always(error.to_string()))?,
        },
        (None, Some(after)) => ctx.run.data_interval_end.unwrap_or(ctx.run.run_after).after(after),
        (None, None) => return Err(Refused::Always("`at` or `after` is needed".to_owned())),
    };
    if now >= when {
        return Ok(Answer::Done);
    }
    let limit = Limit::of(question, task, None, now);
    limit.check(|| Refused::Always(format!("{when} didn't come {}", limit.words())))?;
    Ok(Answer::Again(limit.until.map_or(when, |until| until.min(when))))
}
