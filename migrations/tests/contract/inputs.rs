//! Questions to people: written with the task that asks, loaded while it waits, gone with its run.

use std::{collections::BTreeMap, sync::Arc};

use dags::{ids::TenantId, time::Timestamp};
use engine::{
    journal::{Commit, Journal as _},
    rows::{Batch, Changed, Input, InputResponse, InputRow},
    state::{RunState, TaskState},
};
use migrations::{
    TenantScope,
    store::{
        Window,
        input_request::{self, InputFilter},
    },
};
use serde_json::json;

use crate::{
    fixture::{self, OTHER, batch, first_batch, owned, scope, to},
    support::{TestDb, on_both},
};

on_both!(a_question_is_loaded_while_its_task_waits_and_goes_with_its_run);

const ALL: Window = Window { limit: 100, offset: 0 };

async fn a_question_is_loaded_while_its_task_waits_and_goes_with_its_run(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    let mut journal = owned(db, "one").await;
    let (first, run, task) = first_batch();
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let asking = to(&task, TaskState::AwaitingInput);
    let asked = InputRow {
        tenant: TenantId::DEFAULT,
        run: run.run,
        task: task.task.clone(),
        map_index: -1,
        attempt: asking.row.attempt(),
        try_number: asking.row.try_number,
        input: Arc::new(Input {
            subject: "Go on? \u{0} ü".to_owned(),
            body: Some("# why\n".to_owned()),
            options: vec!["yes".to_owned(), "no".to_owned()],
            defaults: Some(vec!["no".to_owned()]),
            multiple: true,
            params: BTreeMap::from([("n".to_owned(), json!({ "type": "integer" }))]),
            assigned: vec!["ann".to_owned()],
        }),
        created_at: Timestamp(5),
        respond_by: Some(Timestamp(9)),
        response: None,
    };
    let second = Batch { tasks: vec![asking.clone()], inputs: vec![asked.clone()], ..batch(2) };
    assert_eq!(journal.commit(&second).await, Commit::Done);
    assert_eq!(journal.snapshot().await.unwrap().inputs, std::slice::from_ref(&asked));
    assert_eq!(input_request::response(db, scope(), asked.attempt).await.unwrap(), None);

    let response = InputResponse {
        chosen: vec!["yes".to_owned()],
        params: json!({ "n": 1 }).as_object().cloned().unwrap(),
        by: Some("ann".into()),
        at: Timestamp(7),
    };
    let answered = InputRow { response: Some(response.clone()), ..asked.clone() };
    let running = Changed {
        before: TaskState::AwaitingInput,
        row: engine::rows::TaskRow { state: TaskState::Running, ..asking.row.clone() },
    };
    let third = Batch { tasks: vec![running], inputs: vec![answered.clone()], ..batch(3) };
    assert_eq!(journal.commit(&third).await, Commit::Done);
    assert!(journal.snapshot().await.unwrap().inputs.is_empty());
    assert_eq!(input_request::response(db, scope(), asked.attempt).await.unwrap(), Some(response));
    let of = |answered, dag| InputFilter { answered, dag, ..InputFilter::default() };
    let list = async |filter| input_request::list(db, scope(), &filter, ALL).await.unwrap().rows;
    assert_eq!(list(of(None, Some(fixture::dag_id("d")))).await, std::slice::from_ref(&answered));
    assert!(list(of(Some(false), None)).await.is_empty());
    assert!(list(of(None, Some(fixture::dag_id("e")))).await.is_empty());
    let of_task = input_request::of_task(db, scope(), run.run, &task.task, -1).await.unwrap();
    assert_eq!(of_task, [answered]);
    let others = input_request::list(db, TenantScope::new(OTHER), &of(None, None), ALL).await.unwrap();
    assert_eq!(others.total, 0);

    let ended =
        Changed { before: run.state, row: engine::rows::RunRow { state: RunState::Failed, ..run.clone() } };
    assert_eq!(journal.commit(&Batch { runs: vec![ended], ..batch(4) }).await, Commit::Done);
    let gone = Batch { deleted_runs: vec![(run.tenant, run.run)], ..batch(5) };
    assert_eq!(journal.commit(&gone).await, Commit::Done);
    assert!(list(of(None, None)).await.is_empty());
}
