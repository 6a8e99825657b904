//! Gangs: their members start together, find each other, and end together, whatever breaks off in between.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use dags::ids::TaskId;
use engine::{
    dispatch::Outcome,
    rows::{MemberRow, RunRow},
    state::{RunState, TaskState},
};
use migrations::store;
use tests::proxy::Flow;

use crate::{
    claims::Ordered,
    site::{LATE, SCOPE, SOON, Service, Site, alive, kill},
    workers::Fleet,
};

/// A DAG `d` with a gang `a` of so many members that run this.
fn dag(executor: &str, members: u32, bash: &str) -> String {
    let mut text =
        format!("dag: d\ntasks:\n  a:\n    executor: {executor}\n    gang: {members}\n    bash: |\n");
    for line in bash.lines() {
        writeln!(text, "      {}", line.trim_start()).unwrap();
    }
    text
}

/// What a member does that says when it starts and ends, and waits for `go`.
fn waiting(site: &Site) -> String {
    format!(
        "echo start $RANK >> {0}
         until [ -e {1} ]; do sleep 0.05; done
         echo end $RANK >> {0}",
        site.effects().display(),
        site.path("go").display()
    )
}

async fn lines(site: &Site, what: &str, n: usize) {
    let count = || site.lines().iter().filter(|line| line.starts_with(what)).count();
    site.until(LATE, &format!("{n} members say `{what}`"), async || {
        if count() == n { Ok(()) } else { Err(format!("{:?}", site.lines())) }
    })
    .await;
}

/// Every member said this once, and nobody else did.
fn each_once(site: &Site, what: &str, members: u32) {
    let mut said: Vec<String> = site.lines().into_iter().filter(|line| line.starts_with(what)).collect();
    said.sort();
    let mut wanted: Vec<String> = (0..members).map(|rank| format!("{what} {rank}")).collect();
    wanted.sort();
    assert_eq!(said, wanted);
}

async fn members(site: &Site, run: &RunRow) -> Vec<MemberRow> {
    let task = TaskId::parse("a").unwrap();
    store::task_instance::members(&site.db, SCOPE, run.run, &task, -1).await.unwrap()
}

#[tokio::test]
async fn members_on_a_worker_find_each_other() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    let program = "
import os, socket, sys
rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
place = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))
if rank == 0:
    with socket.create_server(place) as server:
        there = sorted(server.accept()[0].makefile().readline().strip() for _ in range(size - 1))
    print('met', *there, file=open(sys.argv[1], 'a'))
else:
    while True:
        try:
            with socket.create_connection(place) as way:
                way.sendall(f'{rank}\\n'.encode())
            break
        except ConnectionRefusedError:
            pass
";
    fs::write(site.path("dags/meet.py"), program).unwrap();
    site.write_dag("d.yaml", &dag("workers", 4, &format!("python3 meet.py {}", site.effects().display())));
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    let run = site.ended("d", "r1").await;
    assert_eq!((run.state, site.lines()), (RunState::Success, vec!["met 1 2 3".to_owned()]));
    let task = site.task(&run, "a").await;
    assert!(task.worker.is_some() && task.members == 4, "{task:?}");
    let members = members(site, &run).await;
    let ended = members.iter().filter_map(|member| member.end.as_ref()).map(|end| end.exit_code);
    assert_eq!(ended.collect::<Vec<_>>(), [Some(0); 4]);
    assert!(members.iter().all(|member| member.host.is_some() && member.started_at.is_some()), "{members:?}");
}

#[tokio::test]
async fn a_member_that_fails_ends_its_gang_on_a_worker() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    let bash = format!(
        "trap 'echo ended $RANK >> {0}; exit 1' TERM
         echo start $RANK >> {0}
         if [ $RANK = 1 ]; then until [ -e {1} ]; do sleep 0.05; done; echo no luck >&2; exit 7; fi
         while true; do sleep 0.05; done",
        site.effects().display(),
        site.path("go").display()
    );
    site.write_dag("d.yaml", &dag("workers", 3, &bash));
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    lines(site, "start", 3).await;
    fs::write(site.path("go"), "").unwrap();
    let run = site.ended("d", "r1").await;
    let task = site.task(&run, "a").await;
    assert_eq!((run.state, task.state, task.exit_code), (RunState::Failed, TaskState::Failed, Some(7)));
    assert!(task.reason.as_deref().unwrap().contains("no luck"), "{:?}", task.reason);
    let ended: BTreeSet<String> = site.lines().into_iter().filter(|line| line.starts_with("ended")).collect();
    assert_eq!(ended, ["ended 0", "ended 2"].map(str::to_owned).into(), "they could clean up");
    let outcomes: Vec<_> =
        members(site, &run).await.into_iter().map(|member| member.end.unwrap().outcome).collect();
    assert_eq!(outcomes, [Outcome::Killed, Outcome::Failed, Outcome::Killed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_whose_service_is_killed_during_the_hand_over_starts_once() {
    let mut ordered = Ordered::with(|site| dag("workers", 3, &waiting(site))).await;
    // The worker has its order, and waits for the answer whether it may start it.
    ordered.restart_service();
    ordered.api.set(Flow::Open);
    lines(ordered.site(), "start", 3).await;
    // And once more while it runs.
    ordered.restart_service();
    let site = ordered.site();
    fs::write(site.path("go"), "").unwrap();
    let run = site.ended("d", "r1").await;
    let task = site.task(&run, "a").await;
    assert_eq!((run.state, task.try_number, task.dispatch_n), (RunState::Success, 1, 1), "{:?}", task.reason);
    each_once(site, "start", 3);
    each_once(site, "end", 3);
}

/// Enough that a service can be killed by the first while it hands over the last.
const MANY: u32 = 48;

/// Kills the service as soon as the first member runs; says how many had been handed over.
async fn broken_off(site: &Site, service: Service, run: &str) -> u32 {
    site.trigger("d", run).await;
    site.until(SOON, "the first member runs", async || {
        if site.lines().is_empty() { Err(String::new()) } else { Ok(()) }
    })
    .await;
    service.kill();
    let supervisor = site.supervisor().expect("attempts outlive the service");
    assert!(alive(supervisor));
    let attempts = fs::read_dir(site.path("data/supervisor/attempts")).unwrap();
    attempts.count() as u32
}

#[tokio::test]
async fn a_gang_on_this_machine_becomes_whole_when_the_service_is_killed_between_two_members() {
    let site = Site::postgres().await;
    let start = || site.start_with(&["--set", &format!("executors.local.slots={MANY}")]);
    site.write_dag("d.yaml", &dag("local", MANY, &waiting(&site)));
    let mut service = start();
    site.dag_is_there("d").await;
    for n in 1.. {
        let run = format!("r{n}");
        let handed_over = broken_off(&site, service, &run).await;
        service = start();
        lines(&site, "start", MANY as usize).await;
        fs::write(site.path("go"), "").unwrap();
        let row = site.ended("d", &run).await;
        let task = site.task(&row, "a").await;
        assert_eq!(
            (row.state, task.try_number, task.dispatch_n),
            (RunState::Success, 1, 1),
            "{:?}",
            task.reason
        );
        each_once(&site, "start", MANY);
        each_once(&site, "end", MANY);
        if (1..MANY).contains(&handed_over) {
            break;
        }
        assert!(n < 10, "the service always hands all over before it is killed");
        fs::remove_file(site.path("go")).unwrap();
        fs::remove_file(site.effects()).unwrap();
    }
    drop(service);
    if let Some(supervisor) = site.supervisor() {
        kill(supervisor);
    }
}
