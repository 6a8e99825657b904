//! Tasks that ask people: `awaiting_input`, answers by the inbox, and the time for them.

use std::collections::BTreeMap;

use dags::{model::Runner, time::Span};
use engine::{
    Answer, AskPeople,
    command::{Command, Refusal, Response},
    dispatch::ResultRef,
    rows::{AlertKind, Input},
    state::TaskState,
};
use serde_json::{Value, json};

use crate::{builder::*, lab::*};

fn question() -> Input {
    Input {
        subject: "Go on?".to_owned(),
        body: None,
        options: ["Approve", "Reject"].map(str::to_owned).into(),
        defaults: None,
        multiple: false,
        params: BTreeMap::new(),
        assigned: Vec::new(),
    }
}

fn asks(input: Input, until: Option<dags::time::Timestamp>) -> Answer {
    Answer::Ask(Box::new(AskPeople { input, until, notify: Vec::new() }))
}

/// A lab with a run whose task `ask` has asked, and `z` behind it.
fn asked(input: Input, within: Option<Span>) -> (Lab, String) {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(operator("ask", "approval", Runner::Engine).retries(1)).task(bash("z").needs(["ask"])),
    );
    let run = lab.trigger("d");
    let until = within.map(|span| lab.now.after(span));
    lab.answer("ask", asks(input, until));
    (lab, run)
}

fn respond(lab: &mut Lab, run: &str, chosen: &[&str], params: Value) -> Result<Value, Refusal> {
    lab.request(Command::Respond(Response {
        dag_id: "d".parse().unwrap(),
        run_name: run.parse().unwrap(),
        task_id: task_id("ask"),
        map_index: -1,
        chosen_options: chosen.iter().map(|option| (*option).to_owned()).collect(),
        params_input: params.as_object().cloned().unwrap_or_default(),
    }))
}

fn result(lab: &Lab, run: &str) -> Value {
    match &lab.journal.results[&(lab.run_row(run).run, task_id("ask"), -1)].value {
        ResultRef::Inline(value) => value.clone(),
        ResultRef::Stored { .. } => panic!("it is small"),
    }
}

#[test]
fn an_answer_lets_the_task_go_on() {
    let (mut lab, run) = asked(question(), None);
    assert_eq!(lab.states(&run), "ask=awaiting_input z=none");
    assert_eq!(lab.task_row(&run, "ask").reason.as_deref(), Some("it waits for an answer: Go on?"));
    lab.advance(hours(1_000));
    assert_eq!(lab.states(&run), "ask=awaiting_input z=none");
    let answered = respond(&mut lab, &run, &["Approve"], json!({})).unwrap();
    assert_eq!(
        (&answered["chosen_options"], &answered["responded_by_user"]),
        (&json!(["Approve"]), &json!("ann"))
    );
    assert_eq!(result(&lab, &run), answered, "the answer is stored as the result");
    let row = lab.journal.inputs.values().next().unwrap();
    assert_eq!(row.response.as_ref().unwrap().by.as_deref(), Some("ann"));
    assert_eq!((lab.questions[0].try_number, lab.questions[0].id.n), (1, 2), "no try is used up");
    lab.answer("ask", Answer::Done);
    assert_eq!(lab.states(&run), "ask=success z=queued");
    assert_eq!(
        lab.history(&run, "ask"),
        "scheduled queued running awaiting_input scheduled queued running success"
    );
}

#[test]
fn a_question_is_answered_once() {
    let (mut lab, run) = asked(question(), None);
    respond(&mut lab, &run, &["Approve"], json!({})).unwrap();
    let refused = respond(&mut lab, &run, &["Reject"], json!({})).unwrap_err();
    assert_eq!(refused.code, "input.not_awaited");
    lab.answer("ask", Answer::Done);
    lab.run("z").succeeds();
    // The run isn't in memory any more.
    assert_eq!(respond(&mut lab, &run, &["Reject"], json!({})).unwrap_err().code, "input.not_awaited");
    assert_eq!(respond(&mut lab, "none", &["Reject"], json!({})).unwrap_err().code, "run.not_found");
}

#[test]
fn a_wrong_answer_is_refused_with_what_is_wrong() {
    let params = BTreeMap::from([
        ("limit".to_owned(), json!({ "type": "integer", "minimum": 1 })),
        ("region".to_owned(), json!({ "type": "string", "default": "eu" })),
    ]);
    let input = Input { params, assigned: vec!["ann".to_owned()], ..question() };
    let (mut lab, run) = asked(input, None);
    let mut says =
        |chosen: &[&str], params: Value| respond(&mut lab, &run, chosen, params).unwrap_err().message;
    assert_eq!(says(&["Maybe"], json!({"limit": 1})), "`Maybe` isn't offered: choose `Approve` or `Reject`");
    assert_eq!(says(&[], json!({"limit": 1})), "choose one of `Approve` or `Reject`");
    assert_eq!(says(&["Approve", "Reject"], json!({"limit": 1})), "choose one of `Approve` or `Reject`");
    assert_eq!(says(&["Approve"], json!({"limit": 1, "more": 2})), "`more` isn't asked for");
    assert!(says(&["Approve"], json!({"limit": 0})).contains("`limit`"));
    assert!(says(&["Approve"], json!({})).contains("has no default"));
    let answered = respond(&mut lab, &run, &["Approve"], json!({"limit": 3})).unwrap();
    assert_eq!(answered["params_input"], json!({"limit": 3, "region": "eu"}));
}

#[test]
fn only_who_is_assigned_may_answer() {
    let (mut lab, run) = asked(Input { assigned: vec!["bob".to_owned()], ..question() }, None);
    let refused = respond(&mut lab, &run, &["Approve"], json!({})).unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("input.not_assigned", "only `bob` may answer, not `ann`")
    );
}

#[test]
fn without_an_answer_in_time_the_defaults_count() {
    let input = Input { defaults: Some(vec!["Reject".to_owned()]), ..question() };
    let (mut lab, run) = asked(input, Some(mins(30)));
    lab.crash();
    lab.advance(mins(30));
    assert_eq!(result(&lab, &run)["chosen_options"], json!(["Reject"]));
    assert_eq!(result(&lab, &run)["responded_by_user"], Value::Null);
    lab.answer("ask", Answer::Stop { direct: true });
    assert_eq!(lab.states(&run), "ask=success z=skipped");
}

#[test]
fn without_defaults_it_fails_and_asks_again_in_the_next_try() {
    let (mut lab, run) = asked(question(), Some(mins(30)));
    lab.advance(mins(30));
    assert_eq!(lab.states(&run), "ask=up_for_retry z=none");
    assert_eq!(lab.task_row(&run, "ask").reason.as_deref(), Some("nobody answered within 30m"));
    assert_eq!(respond(&mut lab, &run, &["Approve"], json!({})).unwrap_err().code, "input.not_awaited");
    lab.advance(mins(5));
    assert_eq!(lab.questions[0].try_number, 2);
    lab.answer("ask", asks(question(), None));
    respond(&mut lab, &run, &["Approve"], json!({})).unwrap();
    assert_eq!(lab.journal.inputs.len(), 2, "each try asks for itself");
}

#[test]
fn a_question_survives_a_crash_and_ends_with_its_task() {
    let (mut lab, run) = asked(question(), None);
    lab.crash();
    assert!(lab.questions.is_empty());
    respond(&mut lab, &run, &["Approve"], json!({})).unwrap();
    lab.crash();
    assert_eq!(lab.questions.len(), 1, "what was answered is looked at again");
    let (mut lab, run) = asked(question(), None);
    lab.mark(&run, ["ask"], TaskState::Success);
    assert_eq!(respond(&mut lab, &run, &["Approve"], json!({})).unwrap_err().code, "input.not_awaited");
    let (mut lab, run) = asked(question(), None);
    lab.clear(&run, ["ask"]);
    assert_eq!((lab.states(&run).as_str(), lab.questions[0].try_number), ("ask=running z=none", 2));
}

#[test]
fn a_route_hears_of_the_question() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(time_sensor("ask")));
    lab.trigger("d");
    let ask = AskPeople { input: question(), until: None, notify: vec!["sales".to_owned()] };
    lab.answer("ask", Answer::Ask(Box::new(ask)));
    let alert = &lab.alerts[0];
    assert_eq!(
        (alert.what, &*alert.route, alert.reason.as_deref()),
        (AlertKind::Input, "sales", Some("Go on?"))
    );
}
