//! Many DAGs: all of them due in the same minute.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::{
    Size,
    figures::Figures,
    place::{Place, Service},
    proc,
};

/// What the worker holds at once.
const SLOTS: usize = 2_000;
const MINUTE_US: i64 = 60_000_000;
/// How long the slowest first task may take before the measurement has failed.
const LATE_MAX: Duration = Duration::from_mins(3);

/// DAGs of one task each. The names sort as they are made.
pub(crate) fn files(count: usize, schedule: &str) -> Vec<(String, String)> {
    let text = |dag: &str| format!("dag: {dag}\nschedule: {schedule}\ntasks:\n  only: {{ bash: 'true' }}\n");
    (0..count).map(|n| format!("dag_{n:05}")).map(|dag| (format!("{dag}.yaml"), text(&dag))).collect()
}

/// Waits until the processes do next to nothing any more.
pub(crate) async fn settled(service: &Service, longest: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < longest {
        let before = cpu(service)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cpu(service)? - before < 0.02 {
            return Ok(());
        }
    }
    Ok(())
}

fn cpu(service: &Service) -> anyhow::Result<f64> {
    service.0.iter().map(|process| proc::cpu(process.pid())).sum()
}

/// Waits until so many task instances of a DAG wait for a place.
pub(crate) async fn scheduled(place: &Place, dag: &str, count: usize) -> anyhow::Result<()> {
    let mut database = place.database().await?;
    place
        .until("task instances wait", async || {
            let text = "SELECT count(*) FROM task_instance JOIN run USING (tenant_id, run_id) \
                        WHERE run.dag_id = $1 AND task_instance.state = 'scheduled'";
            let found: i64 = sqlx::query_scalar(text).bind(dag).fetch_one(&mut database).await?;
            Ok((found as usize == count).then_some(()))
        })
        .await
}

/// From the minute in which all DAGs are due to the start of each one's task.
pub(crate) async fn measure(size: Size) -> anyhow::Result<Figures> {
    let place = Place::new().await?;
    let service = place.serve(&["worker.noop=true".to_owned(), format!("worker.slots={SLOTS}")])?;
    place.load(&files(size.dags, "'* * * * *'")).await?;
    settled(&service, Duration::from_mins(1)).await?;
    let minute = (crate::clock::now().0 / MINUTE_US + 1) * MINUTE_US;
    let wait = u64::try_from(minute - crate::clock::now().0)?;
    tokio::time::sleep(Duration::from_micros(wait.saturating_sub(500_000))).await;
    let before = service.spent()?;
    let mut database = place.database().await?;
    let start = Instant::now();
    let text = "SELECT count(started_at), count(ended_at) FROM task_instance JOIN run USING (tenant_id, run_id) \
                WHERE run.run_after = $1";
    let text =
        text.replace("started_at", "task_instance.started_at").replace("ended_at", "task_instance.ended_at");
    loop {
        let (started, ended): (i64, i64) =
            sqlx::query_as(sqlx::AssertSqlSafe(text.clone())).bind(minute).fetch_one(&mut database).await?;
        if ended as usize == size.dags {
            break;
        }
        ensure!(start.elapsed() < LATE_MAX, "{started} of {} started, {ended} ended", size.dags);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let spent = service.since(&before)?;
    let text = "SELECT run.started_at - $1, task_instance.started_at - $1, task_instance.ended_at - $1 \
                FROM task_instance JOIN run USING (tenant_id, run_id) WHERE run.run_after = $1";
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(text).bind(minute).fetch_all(&mut database).await?;
    let last = |of: fn(&(i64, i64, i64)) -> i64| -> anyhow::Result<f64> {
        Ok(rows.iter().map(of).max().context("no rows")? as f64 / 1e6)
    };
    let mut figures = Figures::default();
    let what = format!("{} DAGs due in the same minute, until the last one's task runs", size.dags);
    let note = format!(
        "the last run began after {:.2} s, the last task ended after {:.2} s; {spent}",
        last(|row| row.0)?,
        last(|row| row.2)?
    );
    figures.add(&what, format!("{:.2} s", last(|row| row.1)?), "10 s", note);
    service.end()?;
    place.close().await?;
    Ok(figures)
}
