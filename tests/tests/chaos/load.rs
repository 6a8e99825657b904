//! The work: runs of DAGs of no-ops and of real processes, asked for over the API again and again.

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use api::{
    client::{Client, ClientError},
    v2::dag_runs::TriggerBody,
};

use crate::{
    timeline::Timeline,
    world::{NOOP_QUEUE, World},
};

/// How long an answer of the API may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The pause after an answer that wasn't one.
const AGAIN: Duration = Duration::from_millis(300);

/// The DAGs, with the task instances that a run of each has.
pub(crate) const DAGS: [(&str, u64); 2] = [("effects", 33), ("noops", 60)];

/// Every task appends its attempt's id when it is done, and only then.
pub(crate) fn write_dags(world: &World) {
    let effect = format!("echo $UPDRAFT_ATTEMPT >> {}", world.path("effects").display());
    let mut text = "dag: effects\nmax_active_runs: 100\nmax_active_tasks: 1000\n\
                    defaults: { retries: 100, retry_delay: 1s }\ntasks:\n"
        .to_owned();
    let mut task = |name: &str, needs: &str, work: &str, more: &str| {
        let needs = if needs.is_empty() { String::new() } else { format!("    needs: {needs}\n") };
        let script = format!("    bash: |\n      {work}\n      {effect}\n");
        write!(text, "  {name}:\n{needs}{more}{script}").unwrap();
    };
    for chain in 0..4 {
        for link in 0..5 {
            let needs = if link == 0 { String::new() } else { format!("c{chain}_{}", link - 1) };
            task(
                &format!("c{chain}_{link}"),
                &needs,
                &format!("sleep 0.{}", (chain * 5 + link) * 7 % 10),
                "",
            );
        }
    }
    for (n, seconds) in [(0, 2), (1, 4), (2, 6)] {
        task(&format!("long{n}"), "", &format!("sleep {seconds}"), "");
    }
    task("make", "", "echo '[1, 2, 3, 4, 5, 6]' > $UPDRAFT_RESULT", "");
    task("each", "make", "echo {{ map.n }} > $UPDRAFT_RESULT", "    map: { n: { output: make } }\n");
    task("join", "each", "test '{{ outputs.each | join(\",\") }}' = 1,2,3,4,5,6", "");
    // The first try fails after its effect.
    task("flaky", "c0_0", "trap 'test {{ ti.try_number }} -gt 1' EXIT", "");
    task("last", "[c0_4, c1_4, c2_4, c3_4, join, flaky]", "true", "");
    write_dag(world, "effects.yaml", &text);

    let mut text = format!(
        "dag: noops\nmax_active_runs: 100\nmax_active_tasks: 1000\n\
         defaults: {{ retries: 100, retry_delay: 1s, queue: {NOOP_QUEUE} }}\ntasks:\n"
    );
    for n in 0..60 {
        let needs = if n < 20 { String::new() } else { format!("needs: t{}, ", n - 20) };
        writeln!(text, "  t{n}: {{ {needs}bash: 'true' }}").unwrap();
    }
    write_dag(world, "noops.yaml", &text);
}

fn write_dag(world: &World, name: &str, text: &str) {
    let beside = world.path("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, world.path("dags").join(name)).unwrap();
}

/// Asks for runs, each until the API says that it exists.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) sockets: Vec<PathBuf>,
    pub(crate) timeline: Timeline,
    /// Until when runs are asked for.
    pub(crate) until: Instant,
    /// At least so many task instances, however long that takes.
    pub(crate) tasks_min: u64,
    /// Between two runs of a DAG.
    pub(crate) pause: Duration,
}

impl Asker {
    /// Returns the names of the runs that were made.
    pub(crate) async fn ask(self) -> Vec<(&'static str, String)> {
        let mut made = Vec::new();
        let mut tasks = 0;
        while Instant::now() < self.until || tasks < self.tasks_min {
            for (dag, size) in DAGS {
                let name = format!("{dag}{}", made.len());
                self.trigger(dag, &name, made.len()).await;
                made.push((dag, name));
                tasks += size;
            }
            tokio::time::sleep(self.pause).await;
        }
        made
    }

    async fn trigger(&self, dag: &str, run: &str, first: usize) {
        let body = TriggerBody { dag_run_id: Some(run.to_owned()), ..TriggerBody::default() };
        for n in first.. {
            let client = Client::new(&self.sockets[n % self.sockets.len()]);
            // The same key for the same request, however often it is sent.
            let asked = client.trigger(dag, &body, Some(run));
            match tokio::time::timeout(ANSWER_MAX, asked).await {
                Ok(Ok(_)) => return,
                Ok(Err(ClientError::Refused {
                    status: status @ (400..=428 | 430..=499), message, ..
                })) => {
                    // The DAG may not be there yet. Nothing else that we ask for is wrong.
                    assert_eq!(status, 404, "{dag} {run}: {message}");
                }
                Ok(Err(error)) => self.timeline.note(format!("the API has no answer about {run}: {error}")),
                Err(_) => self.timeline.note(format!("the API is silent about {run}")),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
