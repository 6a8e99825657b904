//! What pages show of many objects at once.

use std::collections::BTreeMap;

use dags::{ids::TenantId, time::Timestamp};
use engine::{
    journal::{Commit, Journal as _},
    rows::{Cursor, RunRow},
    state::{RunState, TaskState},
};
use migrations::{
    TenantScope,
    policy::{Pattern, Visible},
    store::{Window, dag, overview},
};

use crate::{
    fixture::{self, OTHER, first_batch, owned, scope},
    support::{TestDb, on_both},
};

on_both!(pages_are_read_at_once_and_of_one_tenant, dags_are_paged_by_name_and_label);

const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn of(run: &RunRow, name: &str, map_index: i32, state: TaskState) -> engine::rows::TaskRow {
    let mut row = fixture::task(run, name, map_index);
    (row.state, row.try_number) = (state, 2);
    row
}

async fn pages_are_read_at_once_and_of_one_tenant(test: TestDb) {
    let db = &test.db;
    for name in ["d", "e"] {
        fixture::store_version(db, scope(), name, "one").await;
    }
    let mut journal = owned(db, "one").await;
    let (mut first, ..) = first_batch();
    first.new_runs.clear();
    first.new_tasks.clear();
    for n in 0..6 {
        let mut run = fixture::run(TenantId::DEFAULT, if n < 4 { "d" } else { "e" }, &format!("r{n}"));
        run.run_after = Timestamp(i64::from(n) * DAY_US);
        run.logical_date = Some(run.run_after);
        run.state = match n {
            0 => RunState::Failed,
            1 | 2 => RunState::Success,
            _ => RunState::Running,
        };
        first.new_runs.push(run);
    }
    let runs = first.new_runs.clone();
    for (run, state) in
        [(0, TaskState::Failed), (1, TaskState::Success), (3, TaskState::Queued), (4, TaskState::Running)]
    {
        first.new_tasks.push(of(&runs[run], "t", -1, state));
    }
    for (index, state) in [(0, TaskState::Success), (1, TaskState::Failed), (2, TaskState::Success)] {
        first.new_tasks.push(of(&runs[0], "m", index, state));
    }
    let mut next = fixture::dag(TenantId::DEFAULT, "e", "one");
    next.next = Some(Cursor { run_after: Timestamp(7 * DAY_US), logical_date: None, interval: None });
    first.dags.push(next);
    assert_eq!(journal.commit(&first).await, Commit::Done);

    let (all, other) = (Visible::all(), TenantScope::new(OTHER));
    let only_e = Visible { allow: [Pattern::Name("e".to_owned())].into(), ..Visible::default() };
    let names = [fixture::dag_id("d"), fixture::dag_id("e")];
    let strips = overview::strips(db, scope(), &names, 3).await.unwrap();
    let said: Vec<String> = strips[&names[0]].iter().map(|bar| bar.run_name.to_string()).collect();
    assert_eq!((said.join(" "), strips[&names[1]].len()), ("r3 r2 r1".to_owned(), 2));
    assert!(overview::strips(db, other, &names, 3).await.unwrap().is_empty());
    assert!(overview::strips(db, scope(), &[], 3).await.unwrap().is_empty());

    let ids: Vec<_> = runs.iter().map(|run| run.run).collect();
    let cells = overview::cells(db, scope(), &ids).await.unwrap();
    let of_m: BTreeMap<_, _> =
        cells.iter().filter(|cell| cell.mapped).map(|cell| (cell.state, (cell.count, cell.tries))).collect();
    assert_eq!(of_m, BTreeMap::from([(TaskState::Success, (2, 2)), (TaskState::Failed, (1, 2))]));
    assert_eq!(cells.len(), 6);
    assert!(overview::cells(db, other, &ids).await.unwrap().is_empty());

    let counts = overview::counts(db, scope(), &ids, &all).await.unwrap();
    assert_eq!(counts[&ids[0]], BTreeMap::from([(TaskState::Success, 2), (TaskState::Failed, 2)]));
    assert_eq!(overview::counts(db, scope(), &ids, &only_e).await.unwrap().len(), 1);
    assert!(overview::counts(db, other, &ids, &all).await.unwrap().is_empty());

    let failed = overview::failed(db, scope(), &ids, &all, 9).await.unwrap();
    assert_eq!(failed.iter().map(|row| row.map_index).collect::<Vec<_>>(), [1, -1]);
    assert!(overview::failed(db, scope(), &ids, &only_e, 9).await.unwrap().is_empty());

    let open = overview::open(db, scope(), &all).await.unwrap();
    assert_eq!(open, BTreeMap::from([(TaskState::Queued, 1), (TaskState::Running, 1)]));
    assert_eq!(overview::open(db, scope(), &only_e).await.unwrap().len(), 1);
    assert!(overview::open(db, other, &all).await.unwrap().is_empty());

    let active = overview::active(db, scope(), &all, &[TaskState::Queued], 9).await.unwrap();
    assert_eq!(active.iter().map(|(run, _)| run.run_name.to_string()).collect::<Vec<_>>(), ["r3"]);
    assert!(overview::active(db, other, &all, &[TaskState::Queued], 9).await.unwrap().is_empty());
    assert!(overview::questions(db, scope(), &all, 9).await.unwrap().is_empty());

    let coming = overview::coming(db, scope(), &all, Timestamp(8 * DAY_US), 9).await.unwrap();
    assert_eq!(coming, [(names[1].clone(), Timestamp(7 * DAY_US))]);
    assert!(overview::coming(db, scope(), &all, Timestamp(6 * DAY_US), 9).await.unwrap().is_empty());

    let days = overview::days(db, scope(), &names[0], Timestamp(0), Timestamp(3 * DAY_US)).await.unwrap();
    assert_eq!(days, [(0, RunState::Failed, 1), (1, RunState::Success, 1), (2, RunState::Success, 1)]);
    assert!(
        overview::days(db, other, &names[0], Timestamp(0), Timestamp(9 * DAY_US)).await.unwrap().is_empty()
    );
    assert_eq!(overview::by_ids(db, scope(), &ids[..2]).await.unwrap().len(), 2);
    assert!(overview::by_ids(db, other, &ids).await.unwrap().is_empty());
}

async fn dags_are_paged_by_name_and_label(test: TestDb) {
    let db = &test.db;
    for name in ["d", "e"] {
        fixture::store_version(db, scope(), name, "one").await;
    }
    let mut journal = owned(db, "one").await;
    let (mut first, ..) = first_batch();
    first.dags.push(fixture::dag(TenantId::DEFAULT, "e", "one"));
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let page = async |filter: dag::DagFilter| {
        let page = dag::list(db, scope(), &filter, Window { limit: 9, offset: 0 }).await.unwrap();
        (page.rows.iter().map(|dag| dag.row.dag_id.to_string()).collect::<Vec<_>>().join(" "), page.total)
    };
    let after = dag::DagFilter { after: Some(fixture::dag_id("d")), ..dag::DagFilter::default() };
    assert_eq!(page(after).await, ("e".to_owned(), 2), "the total is that of all pages");
    let tagged = dag::DagFilter { tag: Some("nobody has it".to_owned()), ..dag::DagFilter::default() };
    assert_eq!(page(tagged).await, (String::new(), 0));
}
