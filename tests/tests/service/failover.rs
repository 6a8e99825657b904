//! Several schedulers for one shard: one owns it, the others stand by. The owner is killed, paused and replaced.

use std::time::{Duration, Instant};

use engine::state::{RunState, TaskState};
use rustix::process::Signal;

use crate::{
    history,
    roles::Fleet,
    site::{LATE, SOON, Service, Site, kill},
};

/// How long the shard may be without an owner after `kill -9`.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);
/// Tasks in a row, each of which appends a line with its name and try.
const LINKS: usize = 30;

/// A chain of short tasks.
fn chain(site: &Site) -> String {
    let mut text = "dag: chain\ntasks:\n".to_owned();
    for link in 0..LINKS {
        let needs = if link == 0 { String::new() } else { format!("needs: t{}, ", link - 1) };
        text += &format!(
            "  t{link}: {{ {needs}bash: 'sleep 0.1; echo \"t{link} {{{{ ti.try_number }}}} $(date +%s%N)\" >> {}' }}\n",
            site.effects().display()
        );
    }
    text
}

/// Waits until so many lines were written.
async fn lines(site: &Site, count: usize) {
    site.until(SOON, &format!("{count} tasks have ended"), async || {
        let lines = site.lines();
        if lines.len() >= count { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
}

/// Waits until a standby owns the shard, and says how long that took.
async fn takes_over(fleet: &Fleet, standby: &Service) -> Duration {
    let start = Instant::now();
    fleet.says(standby, "the shard is ours").await;
    start.elapsed()
}

/// The chain ended well: every task ran once and succeeded at its first try.
async fn ran_once(site: &Site, run: &str) {
    let run = site.ended("chain", run).await;
    assert_eq!(run.state, RunState::Success);
    history::is_settled(site, &run).await;
    history::is_legal(site, &run).await;
    for row in site.tasks(&run).await {
        assert_eq!((row.state, row.try_number), (TaskState::Success, 1), "{}", row.task);
    }
    let ran: Vec<String> =
        site.lines().iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    let wanted: Vec<String> = (0..LINKS).map(|link| format!("t{link} 1")).collect();
    assert_eq!(ran, wanted);
}

#[tokio::test]
async fn a_standby_takes_over_when_the_owner_is_killed() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("chain.yaml", &chain(site));
    let owner = fleet.owner("owner", &[]).await;
    site.dag_is_there("chain").await;
    let standby = fleet.standby("standby", &[]).await;
    site.trigger("chain", "killed").await;
    lines(site, 5).await;
    owner.kill();
    let took = takes_over(&fleet, &standby).await;
    println!("the standby owns the shard {took:?} after the kill");
    assert!(took < TAKEOVER_MAX, "{took:?}");
    // The attempts of this machine went on under its supervisor and are found again.
    ran_once(site, "killed").await;
}

#[tokio::test]
async fn an_owner_that_was_paused_is_fenced_and_stands_by() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("chain.yaml", &chain(site));
    let paused = fleet.owner("paused", &[]).await;
    site.dag_is_there("chain").await;
    let standby = fleet.standby("standby", &[]).await;
    site.trigger("chain", "paused").await;
    lines(site, 5).await;
    paused.signal(Signal::STOP);
    let took = takes_over(&fleet, &standby).await;
    println!("the standby owns the shard {took:?} after the pause");
    lines(site, 10).await;
    // It wakes in the middle of whatever it did, with a lease that is over and an engine that knows nothing of the last lines.
    paused.signal(Signal::CONT);
    fleet.says(&paused, "standing by").await;
    ran_once(site, "paused").await;

    // And it is as good a standby as any.
    standby.kill();
    let before = paused.log().matches("the shard is ours").count();
    site.until(SOON, "the first one owns the shard again", async || {
        let owned = paused.log().matches("the shard is ours").count();
        if owned > before { Ok(()) } else { Err(paused.log()) }
    })
    .await;
}

#[tokio::test]
async fn a_rolling_restart_leaves_no_gap_and_fails_no_task() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("chain.yaml", &chain(site));
    let mut owner = fleet.owner("owner0", &[]).await;
    site.dag_is_there("chain").await;
    site.trigger("chain", "rolling").await;
    let mut slowest = Duration::ZERO;
    for round in 1..=4 {
        let next = fleet.standby(&format!("owner{round}"), &[]).await;
        lines(site, round * 5).await;
        owner.signal(Signal::TERM);
        let took = takes_over(&fleet, &next).await;
        slowest = slowest.max(took);
        let (status, log) = owner.exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{log}");
        owner = next;
    }
    println!("the slowest of the hand-overs took {slowest:?}");
    ran_once(site, "rolling").await;
    let at = |line: &String| {
        line.rsplit(' ').next().and_then(|at| at.parse::<u64>().ok()).expect("a line ends with a time")
    };
    let times: Vec<u64> = site.lines().iter().map(at).collect();
    let gap = times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).max().unwrap_or_default();
    println!("the longest time between two tasks of the chain was {gap:?}");
    // Without the hint a standby looks once a second; a lease that isn't given back lasts three.
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}

#[tokio::test]
async fn attempts_of_a_machine_that_is_gone_are_tried_again() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    let began = site.path("effects/began");
    site.write_dag(
        "gone.yaml",
        &format!(
            "dag: gone\ntasks:\n  again: {{ retries: 1, retry_delay: 1s, bash: 'touch {0}; test {{{{ ti.try_number }}}} = 2 || sleep 1000' }}\n  \
             once: {{ bash: 'until test -e {0}; do sleep 0.02; done; sleep 1000' }}\n",
            began.display()
        ),
    );
    let owner = fleet.owner("owner", &[]).await;
    site.dag_is_there("gone").await;
    site.trigger("gone", "lost").await;
    site.until(SOON, "the task begins", async || {
        began.exists().then_some(()).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    // Another machine: a supervisor of its own, the same objects and keys.
    let shared = [
        format!("node.data={}", site.path("data2").display()),
        format!("objects.folder={}", site.path("data/objects").display()),
        format!("keys.master_file={}", site.path("data/master.key").display()),
    ];
    let shared: Vec<&str> = shared.iter().map(String::as_str).collect();
    let standby = fleet.standby("standby", &shared).await;
    let supervisor = site.supervisor().expect("a supervisor runs");
    owner.kill();
    kill(supervisor);
    fleet.says(&standby, "the shard is ours").await;
    let run = site.ended("gone", "lost").await;
    let (again, once) = (site.task(&run, "again").await, site.task(&run, "once").await);
    assert_eq!((again.state, again.try_number), (TaskState::Success, 2));
    assert_eq!((once.state, once.try_number), (TaskState::Failed, 1));
    let reason = once.reason.unwrap_or_default();
    assert!(reason.contains("no longer knows") || reason.contains("lost"), "it says why: {reason}");
    history::is_settled(site, &run).await;
    history::is_legal(site, &run).await;
    standby.interrupt();
    let (status, log) = standby.exit(LATE).await;
    assert_eq!(status.code(), Some(0), "{log}");
}
