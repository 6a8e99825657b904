//! Questions to people: a task asks, somebody answers by the inbox, or the time for it runs out.

use std::sync::Arc;

use dags::{conf, ids::TenantId, time::Span};
use serde_json::{Map, Value, json};

use crate::{
    command::{Refusal, Response},
    engine::Engine,
    question::AskPeople,
    request::Step,
    rows::{AlertKind, InputResponse, InputRow},
    run::TiRef,
    state::TaskState,
    transition::Event,
};

impl Engine {
    /// A task asks people.
    pub(crate) fn ask_people(&mut self, at: TiRef, ask: AskPeople) {
        let reason = format!("it waits for an answer: {}", ask.input.subject);
        if !self.apply(at, Event::Await, Some(reason.into())) {
            return;
        }
        let attempt = self.attempt_id(at);
        let (task, map_index) = self.task_name(at);
        let run = self.run(at.run);
        let try_number = run.tis[at.ti as usize].try_number;
        let row = InputRow {
            tenant: run.row.tenant,
            run: run.row.run,
            task,
            map_index,
            attempt,
            try_number,
            input: Arc::new(ask.input),
            created_at: self.now,
            respond_by: ask.until,
            response: None,
        };
        self.out.inputs.push(row.clone());
        self.inputs.insert(attempt, row);
        let routes: Vec<Arc<str>> = ask.notify.iter().map(|route| route.as_str().into()).collect();
        let subject = Some(self.inputs[&attempt].input.subject.as_str().into());
        self.tell_about(at, routes, AlertKind::Input, subject);
        if let Some(until) = ask.until {
            self.sleep_until(at, until.max(self.now.after(Span::millis(1))));
        }
    }

    /// Somebody answers.
    pub(crate) fn respond(&mut self, tenant: TenantId, response: &Response, actor: &Arc<str>) -> Step {
        let run = match self.wanted_run(tenant, &response.dag_id, &response.run_name) {
            Ok(run) => run,
            Err(step) => return step,
        };
        let state = self.run(run);
        let found = state.plan.find(&response.task_id).and_then(|task| {
            state.instances(task).find(|ti| state.tis[*ti as usize].map_index == response.map_index)
        });
        let Some(ti) = found else {
            return Err(crate::select::no_task(&response.task_id)).into();
        };
        let at = TiRef { run, ti };
        let attempt = self.attempt_id(at);
        let waits = self.run(run).tis[ti as usize].state == TaskState::AwaitingInput;
        let Some(row) = self.inputs.get(&attempt).filter(|_| waits) else {
            let message = format!("`{}` isn't waiting for an answer", response.task_id);
            return Err(Refusal::new("input.not_awaited", message)).into();
        };
        if let Err(refusal) = check(row, response, actor) {
            return Err(refusal).into();
        }
        let response = InputResponse {
            chosen: response.chosen_options.clone(),
            params: with_defaults(row, response.params_input.clone()),
            by: Some(actor.clone()),
            at: self.now,
        };
        let value = value(&response);
        self.answered(at, response);
        Ok(value).into()
    }

    /// The time for an answer is over: the defaults count as one, if there are any.
    pub(crate) fn input_overdue(&mut self, at: TiRef) {
        let attempt = self.attempt_id(at);
        let Some(row) = self.inputs.get(&attempt) else { return };
        match &row.input.defaults {
            Some(defaults) => {
                let response = InputResponse {
                    chosen: defaults.clone(),
                    params: with_defaults(row, Map::new()),
                    by: None,
                    at: self.now,
                };
                self.answered(at, response);
            }
            None => {
                let waited = self.now.since(row.created_at);
                self.failed(at, true, Some(format!("nobody answered within {waited}").into()));
            }
        }
    }

    /// The answer is stored, also as the task's result, and the task goes on with it.
    fn answered(&mut self, at: TiRef, response: InputResponse) {
        let attempt = self.attempt_id(at);
        let Some(mut row) = self.inputs.remove(&attempt) else { return };
        self.store_value(at, value(&response));
        row.response = Some(response);
        self.out.inputs.retain(|known| known.attempt != attempt);
        self.out.inputs.push(row);
        self.resume(at);
    }
}

/// What a task that asked returns.
fn value(response: &InputResponse) -> Value {
    json!({
        "chosen_options": response.chosen,
        "params_input": response.params,
        "responded_by_user": response.by,
        "responded_at": response.at,
    })
}

/// What isn't given has the default of its schema.
fn with_defaults(row: &InputRow, mut given: Map<String, Value>) -> Map<String, Value> {
    for (name, schema) in &row.input.params {
        if let (None, Some(default)) = (given.get(name), schema.get("default")) {
            given.insert(name.clone(), default.clone());
        }
    }
    given
}

fn check(row: &InputRow, response: &Response, actor: &str) -> Result<(), Refusal> {
    let input = &row.input;
    if !input.assigned.is_empty() && !input.assigned.iter().any(|name| name == actor) {
        let names = dags::suggest::list(input.assigned.iter().map(String::as_str), "or");
        return Err(Refusal::new("input.not_assigned", format!("only {names} may answer, not `{actor}`")));
    }
    let bad = |message: String| Err(Refusal::new("input.invalid", message));
    let options = || dags::suggest::list(input.options.iter().map(String::as_str), "or");
    if let Some(stranger) = response.chosen_options.iter().find(|option| !input.options.contains(option)) {
        return bad(format!("`{stranger}` isn't offered: choose {}", options()));
    }
    if response.chosen_options.is_empty() || !input.multiple && response.chosen_options.len() > 1 {
        let how_many = if input.multiple { "at least one" } else { "one" };
        return bad(format!("choose {how_many} of {}", options()));
    }
    let given = with_defaults(row, response.params_input.clone());
    if let Some(stranger) = given.keys().find(|name| !input.params.contains_key(*name)) {
        return bad(format!("`{stranger}` isn't asked for"));
    }
    let misfits = conf::check(&input.params, &given);
    if misfits.is_empty() {
        return Ok(());
    }
    bad(misfits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}
