//! `kill -9` of the service, of the supervisor and of both: nothing is forgotten, and nothing that had reported its end
//! runs again.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use engine::state::{RunState, TaskState};
use tests::random::Random;

use crate::{
    history, on_both,
    site::{SOON, Site, kill, program},
};

on_both!(
    a_service_that_is_killed_at_any_moment_forgets_and_repeats_nothing,
    the_attempts_of_a_supervisor_that_is_killed_are_tried_again,
    when_both_are_killed_nothing_is_forgotten,
);

const ROUNDS: u32 = 12;
const CHAINS: usize = 20;
const LINKS: usize = 3;

/// Every third task fails at its first try, after its effect.
fn chains(site: &Site) -> String {
    let mut text =
        "dag: chains\nmax_active_tasks: 6\ndefaults: { retries: 2, retry_delay: 1s }\ntasks:\n".to_owned();
    for chain in 0..CHAINS {
        for link in 0..LINKS {
            let fails = (chain + link) % 3 == 0;
            let needs = if link == 0 { String::new() } else { format!("    needs: t{chain}_{}\n", link - 1) };
            writeln!(
                text,
                "  t{chain}_{link}:\n{needs}    bash: sleep 0.{}; echo \"t{chain}_{link} {{{{ ti.try_number }}}}\" >> {}{}",
                2 + (chain * LINKS + link) % 7,
                site.effects().display(),
                if fails { "; test {{ ti.try_number }} = 2" } else { "" },
            )
            .unwrap();
        }
    }
    text
}

async fn a_service_that_is_killed_at_any_moment_forgets_and_repeats_nothing(site: Site) {
    let seed = match std::env::var("UPDRAFT_TEST_SEED") {
        Ok(seed) => seed.parse().expect("UPDRAFT_TEST_SEED is a number"),
        Err(_) => uuid::Uuid::now_v7().as_u128() as u64,
    };
    println!("UPDRAFT_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    site.write_dag("chains.yaml", &chains(&site));
    let service = site.start();
    site.dag_is_there("chains").await;
    site.trigger("chains", "killed").await;
    service.kill();
    let mut rounds_with_work = 0;
    for round in 0..ROUNDS {
        let service = site.start();
        let before = site.lines().len();
        // A machine that is busy with other tests needs longer until anything runs.
        let idle = u64::from(round - rounds_with_work);
        tokio::time::sleep(Duration::from_millis(random.within(50, 800 + 400 * idle))).await;
        service.kill();
        rounds_with_work += u32::from(site.lines().len() > before);
    }
    println!("tasks ended in {rounds_with_work} of {ROUNDS} rounds");
    assert!(rounds_with_work >= 2, "the service is killed while tasks run");
    let service = site.start();
    service.ready(&site).await;
    let run = site.ended("chains", "killed").await;
    assert_eq!(run.state, RunState::Success);
    history::is_settled(&site, &run).await;
    history::is_legal(&site, &run).await;

    let mut lines: BTreeMap<String, u32> = BTreeMap::new();
    for line in site.lines() {
        *lines.entry(line).or_default() += 1;
    }
    let mut wanted = BTreeMap::new();
    for row in site.tasks(&run).await {
        assert_eq!(row.state, TaskState::Success, "{}", row.task);
        assert_eq!(row.dispatch_n, 1, "{} was handed over once in its try", row.task);
        wanted.extend((1..=row.try_number).map(|number| (format!("{} {number}", row.task), 1)));
    }
    assert_eq!(wanted.len(), CHAINS * LINKS + CHAINS, "a third of the tasks needs two tries");
    assert_eq!(lines, wanted, "each try that reported its end had its effect once");

    // Nothing is left with the supervisor: it ends, which it doesn't while attempts run, and so does the service.
    service.interrupt();
    let (status, log) = service.exit(SOON).await;
    assert_eq!(status.code(), Some(0), "{log}");
    site.until(SOON, "the supervisor has ended", async || match site.supervisor() {
        None => Ok(()),
        Some(_) => Err(log.clone()),
    })
    .await;
    let left: Vec<_> = std::fs::read_dir(site.path("data/supervisor/attempts")).unwrap().collect();
    assert!(left.is_empty(), "every attempt's end was confirmed: {left:?}");
}

/// Two tasks that would never end at their first try; one of them may be tried again.
fn endless(site: &Site) -> String {
    let command = |name: &str| {
        format!(
            "touch {folder}/{name}_{{{{ ti.try_number }}}}.pid; echo $$ > {folder}/{name}_{{{{ ti.try_number }}}}.pid; \
             if test {{{{ ti.try_number }}}} = 1; then sleep 1000; fi",
            folder = site.path("effects").display()
        )
    };
    format!(
        "dag: endless\ntasks:\n  again: {{ retries: 1, retry_delay: 1s, bash: '{}' }}\n  once: {{ bash: '{}' }}\n",
        command("again"),
        command("once")
    )
}

async fn pid_of(site: &Site, task: &str) -> rustix::process::Pid {
    let file = site.path("effects").join(format!("{task}_1.pid"));
    site.until(SOON, &format!("{task} begins"), async || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        text.trim().parse().ok().and_then(rustix::process::Pid::from_raw).ok_or(text)
    })
    .await
}

async fn the_attempts_of_a_supervisor_that_is_killed_are_tried_again(site: Site) {
    lost_attempts(&site, false).await;
}

async fn when_both_are_killed_nothing_is_forgotten(site: Site) {
    lost_attempts(&site, true).await;
}

async fn lost_attempts(site: &Site, kill_service: bool) {
    site.write_dag("endless.yaml", &endless(site));
    let mut service = site.start();
    site.dag_is_there("endless").await;
    site.trigger("endless", "lost").await;
    let pids = [pid_of(site, "again").await, pid_of(site, "once").await];
    let supervisor = site.supervisor().expect("a supervisor runs");
    if kill_service {
        service.kill();
        kill(supervisor);
        service = site.start();
    } else {
        kill(supervisor);
    }
    let run = site.ended("endless", "lost").await;
    assert!(service.is_running());
    for pid in pids {
        assert!(!crate::site::alive(pid), "the attempts died with their supervisor");
    }
    assert_ne!(site.supervisor(), Some(supervisor), "there is another supervisor");
    let (again, once) = (site.task(&run, "again").await, site.task(&run, "once").await);
    assert_eq!((again.state, again.try_number), (TaskState::Success, 2));
    assert_eq!((once.state, once.try_number), (TaskState::Failed, 1));
    let reason = once.reason.unwrap_or_default();
    assert!(reason.contains("lost") || reason.contains("supervisor"), "it says why: {reason}");
    assert_eq!(run.state, RunState::Failed);
    history::is_settled(site, &run).await;
    history::is_legal(site, &run).await;
}

#[tokio::test]
async fn a_full_disk_holds_everything_up_and_ends_nothing() {
    let site = Site::sqlite().await;
    let text = format!("dag: d\ntasks:\n  a:\n    bash: echo ran >> {}\n", site.effects().display());
    site.write_dag("d.yaml", &text);
    let mut service = site.start_on_small_disk();
    site.dag_is_there("d").await;
    site.trigger("d", "before").await;
    assert_eq!(site.ended("d", "before").await.state, RunState::Success);
    service.fill_disk(true);
    site.ask_for("d", "meanwhile", None).await;
    let refused = std::process::Command::new(program())
        .args(["dags", "trigger", "d", "--run", "refused", "--socket"])
        .arg(site.path("data/updraft.sock"))
        .output()
        .unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    // Longer than a lease.
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(service.is_running(), "{}", service.log());
    }
    service.fill_disk(false);
    assert_eq!(site.ended("d", "meanwhile").await.state, RunState::Success);
    assert_eq!(site.lines(), ["ran", "ran"]);
    assert!(site.find_run("d", "refused").await.is_none(), "what was refused doesn't happen later");
    let log = service.log();
    assert!(log.contains("a commit failed; trying again") && log.contains("disk I/O error"), "{log}");
}
