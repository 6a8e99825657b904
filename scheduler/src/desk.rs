//! Answers the engine's questions: conditions and branches here, triggers and waits in [`wait`].
//!
//! Expressions are evaluated by `updraft-script`, never here.

use dags::{
    ids::TaskId,
    model::Task,
    time::{Span, Timestamp},
};
use engine::{Answer, Ask, Question};
use plugins::{
    context::AttemptContext,
    flow::{Branch, ShortCircuit, TaskSensor, TimeSensor, TriggerDag},
    human::{Approval, HumanInput},
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

mod human;
mod wait;

/// Who answers.
#[derive(Debug, Clone)]
pub struct Desk<F> {
    /// What is looked up.
    pub facts: F,
    /// Bundles and results.
    pub objects: Objects,
    /// Who evaluates expressions.
    pub scripts: Option<ScriptPool>,
    /// What attempts may reach.
    pub policy: Policy,
}

impl<F: Facts> Desk<F> {
    /// The answer to a question. Something that couldn't be looked up is tried again.
    pub(crate) async fn answer(&self, question: &Question) -> Answer {
        let mut wait = Span::millis(100);
        loop {
            match self.try_answer(question, clock::now()).await {
                Ok(answer) => return answer,
                Err(Refused::Now(error)) => {
                    tracing::warn!(
                        tenant.id = %question.tenant, dag.id = %question.dag_id, run.id = %question.run,
                        task.id = %question.task_id, map_index = question.map_index,
                        attempt = %question.id.attempt, %error, "a question waits"
                    );
                    clock::sleep(wait).await;
                    wait = Span((wait.0 * 2).min(Span::seconds(5).0));
                }
                Err(Refused::Always(reason)) => return Answer::Error(reason),
                Err(Refused::ForGood(reason)) => return Answer::FailForGood(reason),
            }
        }
    }

    /// The answer to a question that is asked at that instant, for those whose clock isn't the machine's. An error says what
    /// couldn't be looked up now.
    pub async fn answer_at(&self, question: &Question, now: Timestamp) -> Result<Answer, String> {
        match self.try_answer(question, now).await {
            Ok(answer) => Ok(answer),
            Err(Refused::Always(reason)) => Ok(Answer::Error(reason)),
            Err(Refused::ForGood(reason)) => Ok(Answer::FailForGood(reason)),
            Err(Refused::Now(error)) => Err(error),
        }
    }

    async fn try_answer(&self, question: &Question, now: Timestamp) -> Result<Answer, Refused> {
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
        let mut ctx = context::build(&self.facts, &self.objects, &self.policy, wanted).await?;
        let withheld = withhold_secrets(&mut ctx);
        self.answer_with(question, task, &ctx, now).await.map_err(|refused| refused.hint(&withheld))
    }

    async fn answer_with(
        &self,
        question: &Question,
        task: &Task,
        ctx: &AttemptContext,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let names = template::names(ctx);
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
                self.trigger(question, task, args, now).await
            }
            "approval" => {
                let args: Approval = read(&self.rendered(question, task, &names).await?)?;
                self.approval(question, task, args, now).await
            }
            "human_input" => {
                let args: HumanInput = read(&self.rendered(question, task, &names).await?)?;
                self.human_input(question, task, args, now).await
            }
            "time_sensor" => {
                let args: TimeSensor = read(&self.rendered(question, task, &names).await?)?;
                wait::until(question, task, &args, ctx, now)
            }
            "task_sensor" => {
                let args: TaskSensor = read(&self.rendered(question, task, &names).await?)?;
                self.look_at_tasks(question, task, &args, ctx, now).await
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
}

/// Why there is no answer.
enum Refused {
    /// Something couldn't be looked up or evaluated now: try again.
    Now(String),
    /// There never will be one in this try.
    Always(String),
    /// Nor in another.
    ForGood(String),
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

/// What the service itself evaluates ends in rows that people read, so it sees no secret. Says what it doesn't see.
fn withhold_secrets(ctx: &mut AttemptContext) -> Vec<String> {
    let connections = std::mem::take(&mut ctx.connections).into_keys();
    let mut withheld: Vec<String> = connections.map(|name| format!("conn.{name}")).collect();
    for name in std::mem::take(&mut ctx.secret_variables) {
        ctx.variables.remove(&name);
        withheld.push(format!("var.value.{name}"));
    }
    withheld
}

impl Refused {
    /// Says that something which can't be evaluated may be so because secrets are missing.
    fn hint(self, withheld: &[String]) -> Self {
        let Self::Always(reason) = self else { return self };
        if withheld.is_empty() {
            return Self::Always(reason);
        }
        let names = dags::suggest::list(withheld.iter().map(String::as_str), "and");
        Self::Always(format!(
            "{reason} (secrets aren't given to what the service evaluates itself, so it doesn't see {names})"
        ))
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
