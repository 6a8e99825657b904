//! What the engine asks in a simulation, where no value exists: conditions by chance, waits by the clock and by runs.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DagId, RunName, TaskId, TenantId},
    model::{Dag, Task},
    template,
    time::{Span, Timestamp},
};
use engine::{
    Answer, Ask, IfExists, MakeRun, Question, Watch, command::Trigger, rows::RunRow, state::RunState,
};
use plugins::flow::{self, Branch, TaskSensor, TimeSensor, TriggerDag};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    behaviour::{Behaviour, Draw},
    ledger::Ledger,
};

/// The answer.
pub(super) fn answer(
    models: &BTreeMap<(TenantId, DagId), Arc<Dag>>,
    behaviour: &mut Behaviour,
    ledger: &Ledger,
    question: &Question,
    now: Timestamp,
) -> Answer {
    let draw = Draw::asked(question);
    if question.ask == Ask::When {
        return Answer::Holds(behaviour.holds(question.tenant, &draw));
    }
    let model = models.get(&(question.tenant, question.dag_id.clone()));
    let Some(task) = model.and_then(|dag| dag.tasks.iter().find(|task| task.task_id == question.task_id))
    else {
        return Answer::Error("the task is gone".to_owned());
    };
    match task.operator.as_str() {
        "branch" => branch(task, behaviour, &draw),
        "short_circuit" if behaviour.holds(question.tenant, &draw) => Answer::Done,
        "short_circuit" => Answer::Stop { direct: false },
        "time_sensor" => until(task, behaviour, ledger, question, now),
        "trigger_dag" => trigger(task, behaviour, ledger, question, now),
        "task_sensor" => sensor(task, behaviour, ledger, question, now),
        "approval" | "human_input" => {
            behaviour.assume("people answer after as long as their task is said to take, and approve");
            let (takes, ..) = behaviour.attempt(question.tenant, &draw);
            let until = question.started_at.unwrap_or(now).after(takes);
            if now >= until { Answer::Done } else { Answer::Again(until) }
        }
        _ => Answer::Done,
    }
}

/// The operator's parameters with the run, if there is nothing to render in them; else the answer.
fn read<'l, T: DeserializeOwned>(
    task: &Task,
    behaviour: &mut Behaviour,
    ledger: &'l Ledger,
    question: &Question,
) -> Result<(T, &'l RunRow), Answer> {
    let args = || serde_json::from_value(Value::Object(task.args.clone())).ok();
    let args = task.templated.is_empty().then(args).flatten();
    args.zip(ledger.live(question.run)).ok_or_else(|| unknown(behaviour))
}

fn branch(task: &Task, behaviour: &mut Behaviour, draw: &Draw<'_>) -> Answer {
    behaviour.assume("each case of a `branch` is as likely as the others");
    let Ok(Branch { cases }) = serde_json::from_value(Value::Object(task.args.clone())) else {
        return Answer::Error("its cases can't be read".to_owned());
    };
    let Some(case) = cases.get(behaviour.one_of(draw, cases.len())) else {
        return Answer::Follow(Vec::new());
    };
    let chosen = case.run.as_ref().or(case.otherwise.as_ref());
    let names = chosen.map(flow::Names::as_slice).unwrap_or_default();
    match names.iter().map(|name| TaskId::parse(name)).collect() {
        Ok(names) => Answer::Follow(names),
        Err(error) => Answer::Error(error.to_string()),
    }
}

fn unknown(behaviour: &mut Behaviour) -> Answer {
    behaviour.assume("a wait whose parameters are templates is over at once");
    Answer::Done
}

fn until(
    task: &Task,
    behaviour: &mut Behaviour,
    ledger: &Ledger,
    question: &Question,
    now: Timestamp,
) -> Answer {
    let (args, run) = match read::<TimeSensor>(task, behaviour, ledger, question) {
        Ok(known) => known,
        Err(answer) => return answer,
    };
    let zone = question_zone(ledger, question);
    let when = match (&args.at, args.after) {
        (Some(at), _) => match at.parse::<Timestamp>() {
            Ok(instant) => Some(instant),
            Err(_) => dags::time::time_of_day(at, &zone, run.run_after).ok(),
        },
        (None, Some(after)) => Some(run.interval.map_or(run.run_after, |(_, end)| end).after(after)),
        (None, None) => None,
    };
    let Some(when) = when else { return unknown(behaviour) };
    limited(task, question, now, when, || format!("{when} didn't come in time"))
}

/// Done at that time, unless the task's timeout comes first.
fn limited(
    task: &Task,
    question: &Question,
    now: Timestamp,
    when: Timestamp,
    late: impl FnOnce() -> String,
) -> Answer {
    let limit = task.timeout.map(|timeout| question.started_at.unwrap_or(now).after(timeout));
    match limit {
        _ if now >= when => Answer::Done,
        Some(limit) if now >= limit => Answer::Error(late()),
        Some(limit) => Answer::Again(limit.min(when)),
        None => Answer::Again(when),
    }
}

fn question_zone(ledger: &Ledger, question: &Question) -> String {
    let model = ledger.versions.get(&question.version);
    model.map_or_else(|| "UTC".to_owned(), |dag| dag.schedule.timezone.clone())
}

fn trigger(
    task: &Task,
    behaviour: &mut Behaviour,
    ledger: &Ledger,
    question: &Question,
    now: Timestamp,
) -> Answer {
    let key = (question.run, question.task_id.clone(), question.map_index);
    // What is passed on has no meaning here, only whom it goes to.
    let Ok(args) = serde_json::from_value::<TriggerDag>(Value::Object(task.args.clone())) else {
        return unknown(behaviour);
    };
    let until = args.timeout.map(|timeout| question.started_at.unwrap_or(now).after(timeout));
    let watch = |reason: String| Watch { dag_id: args.dag_id.clone(), tasks: false, until, reason };
    if let Some(made) = ledger.made.get(&key) {
        let name = made["run_id"].as_str().and_then(|name| RunName::parse(name).ok());
        let of = |name: RunName| ledger.by_name.get(&(question.tenant, args.dag_id.clone(), name));
        return match name.and_then(of).map(|run| run.state) {
            Some(RunState::Success) | None => Answer::Done,
            Some(RunState::Failed) => Answer::Error("the run that it started failed".to_owned()),
            Some(RunState::Queued | RunState::Running) if until.is_some_and(|until| now >= until) => {
                Answer::Error("the run that it started took too long".to_owned())
            }
            Some(RunState::Queued | RunState::Running) => {
                Answer::Watch(watch("it waits for its run".to_owned()))
            }
        };
    }
    let fixed = |text: &Option<String>| text.clone().filter(|text| !template::has_expression(text));
    Answer::Trigger(Box::new(MakeRun {
        if_exists: match args.if_exists {
            flow::IfExists::Fail => IfExists::Fail,
            flow::IfExists::Skip => IfExists::Skip,
            flow::IfExists::Use => IfExists::Use,
        },
        wait: args.wait.then(|| watch("it waits for its run".to_owned())),
        trigger: Trigger {
            run_name: fixed(&args.run_id).and_then(|name| RunName::parse(&name).ok()),
            logical_date: fixed(&args.logical_date).and_then(|date| date.parse().ok()),
            dag_id: args.dag_id.clone(),
            run_after: None,
            conf: serde_json::Map::new(),
            note: None,
            chain_depth: 0,
        },
    }))
}

fn sensor(
    task: &Task,
    behaviour: &mut Behaviour,
    ledger: &Ledger,
    question: &Question,
    now: Timestamp,
) -> Answer {
    let (args, run) = match read::<TaskSensor>(task, behaviour, ledger, question) {
        Ok(known) => known,
        Err(answer) => return answer,
    };
    behaviour.assume("a `task_sensor` waits for the whole run that it looks at");
    let Some(date) = run.logical_date.map(|date| date.before(args.offset.unwrap_or(Span::ZERO))) else {
        return Answer::Error("the run stands for no date".to_owned());
    };
    let state = ledger.at(question.tenant, &args.dag_id, date).map(|run| run.state.as_str());
    if state.is_some_and(|state| args.failed_states.iter().any(|failed| failed == state)) {
        return Answer::Error("what it waits for failed".to_owned());
    }
    if state.is_some_and(|state| args.states.iter().any(|wanted| wanted == state)) {
        return Answer::Done;
    }
    let until = question.started_at.unwrap_or(now).after(args.timeout);
    if now >= until {
        return Answer::FailForGood("what it waits for didn't come in time".to_owned());
    }
    let reason = format!("it waits for the run of `{}` for {date}", args.dag_id);
    Answer::Watch(Watch { dag_id: args.dag_id.clone(), tasks: false, until: Some(until), reason })
}
