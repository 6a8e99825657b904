//! Changes of the folder of DAGs while the service runs.

use std::time::{Duration, Instant};

use dags::ids::DagId;
use migrations::store::import_error::{self, ImportError};

use crate::{
    on_both,
    site::{SCOPE, SOON, Site},
};

on_both!(
    a_changed_file_is_live_in_about_a_second,
    a_broken_file_leaves_the_others_and_its_own_last_version,
    what_the_service_lacks_is_told_when_a_file_is_loaded,
);

/// How long a change may take on a machine that is busy with other tests; alone it takes a tenth of it.
const LIVE: Duration = Duration::from_secs(10);

fn dag(name: &str, doc: &str) -> String {
    format!("dag: {name}\ndoc: \"{doc}\"\ntasks:\n  only:\n    bash: echo {doc} > \"$UPDRAFT_RESULT\"\n")
}

/// Waits until that version of a DAG is the newest, and says how long that took.
async fn live(site: &Site, name: &str, doc: &str, since: Instant) -> Duration {
    site.until(LIVE, &format!("{name} {doc} is live"), async || match site.dag(name).await {
        Some(dag) if dag.model().unwrap().doc.as_deref() == Some(doc) => Ok(since.elapsed()),
        seen => Err(format!("{:?}", seen.map(|dag| dag.model().unwrap().doc.clone()))),
    })
    .await
}

async fn a_changed_file_is_live_in_about_a_second(site: Site) {
    site.write_dag("a.yaml", &dag("a", "1"));
    let _service = site.start();
    site.dag_is_there("a").await;
    let mut times = Vec::new();
    for doc in ["2", "3", "4", "5", "6"] {
        let changed = Instant::now();
        site.write_dag("a.yaml", &dag("a", doc));
        times.push(live(&site, "a", doc, changed).await);
    }
    let changed = Instant::now();
    site.write_dag("b.yaml", &dag("b", "new"));
    times.push(live(&site, "b", "new", changed).await);
    times.sort();
    println!("a changed file is live after {times:?}");
    assert!(times[times.len() / 2] < Duration::from_secs(2), "a change is live in about a second: {times:?}");

    site.trigger("a", "newest").await;
    let run = site.ended("a", "newest").await;
    assert_eq!(Some(&run.version), site.dag("a").await.map(|dag| dag.row.version).as_ref());
}

async fn a_broken_file_leaves_the_others_and_its_own_last_version(site: Site) {
    site.write_dag("a.yaml", &dag("a", "1"));
    site.write_dag("b.yaml", &dag("b", "1"));
    let service = site.start();
    site.dag_is_there("a").await;
    site.dag_is_there("b").await;
    let good = site.dag("a").await.unwrap().row;

    site.write_dag("a.yaml", "dag: a\ntasks:\n  only: { bsh: echo }\n");
    site.write_dag("b.yaml", &dag("b", "2"));
    live(&site, "b", "2", Instant::now()).await;
    still_good(&site, &good, "first").await;
    site.until(SOON, "the log says what is wrong", async || {
        let log = service.log();
        if log.contains("bsh") && log.contains("did you mean") { Ok(()) } else { Err(log) }
    })
    .await;

    let errors = import_errors(&site).await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].file == "a.yaml" && errors[0].report.contains("did you mean `bash`?"), "{errors:?}");
    assert!(errors[0].dags.iter().map(DagId::as_str).eq(["a"]), "{errors:?}");
    assert!(site.dag("a").await.unwrap().broken && !site.dag("b").await.unwrap().broken);

    // A service that starts with the broken file has it from the database.
    service.kill();
    site.write_dag("b.yaml", &dag("b", "3"));
    let _service = site.start();
    live(&site, "b", "3", Instant::now()).await;
    still_good(&site, &good, "second").await;
    assert_eq!(import_errors(&site).await, errors, "it has been broken since then");
    site.write_dag("a.yaml", &dag("a", "mended"));
    live(&site, "a", "mended", Instant::now()).await;
    site.until(SOON, "nothing is broken any more", async || match import_errors(&site).await {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    })
    .await;
}

async fn import_errors(site: &Site) -> Vec<ImportError> {
    import_error::list(&site.db, SCOPE).await.unwrap()
}

async fn what_the_service_lacks_is_told_when_a_file_is_loaded(site: Site) {
    site.write_dag("lab.yaml", "dag: lab\ntasks:\n  only: { bash: echo, executor: lab }\n");
    site.write_dag("gpu.yaml", "dag: gpu\ntasks:\n  only: { bash: echo, resources: { gpu: 1 } }\n");
    site.write_dag("told.yaml", &format!("{}on_failure: nobody\n", dag("told", "1")));
    let service = site.start();
    site.dag_is_there("told").await;
    site.until(SOON, "the log says what is lacking", async || {
        let log = service.log();
        let said = ["no executor `lab`", "`local` has none", "no notification route `nobody` yet"];
        if said.iter().all(|said| log.contains(said)) { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(site.dag("lab").await.is_none() && site.dag("gpu").await.is_none());
}

async fn still_good(site: &Site, good: &engine::rows::DagRow, run: &str) {
    let now = site.dag("a").await.unwrap().row;
    assert_eq!((&now.version, now.stale), (&good.version, false));
    site.trigger("a", run).await;
    let run = site.ended("a", run).await;
    assert_eq!((&run.version, run.state), (&good.version, engine::state::RunState::Success));
}
