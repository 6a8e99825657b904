//! What should hold between rows and isn't kept by the database itself: for `updraft doctor`. Only reads.
//!
//! Hot tables have no foreign keys, since one writer keeps them whole. Here every such reference is checked, that documents have
//! formats which this release reads, and that states agree with each other.

use dags::ids::{AttemptId, RunId, TaskId};
use engine::rows::RETIRED;
use sea_orm::{ConnectionTrait as _, QueryResult, Statement};
use uuid::Uuid;

use crate::{
    db::Db,
    error::{Doing as _, Error},
};

/// The most rows that a finding names.
pub const NAMED_MAX: usize = 10;
/// Rows that are read at once when all are.
const PAGE: i64 = 5_000;

/// A question to the database: rows that shouldn't be. The text is the same for both databases; a row has the columns
/// `tenant`, `id` and `name`, each of which may be null.
struct Question {
    /// The kind of check.
    check: &'static str,
    /// What is wrong with those rows.
    what: &'static str,
    /// What to do.
    todo: &'static str,
    text: &'static str,
}

const RESTORE: &str = "restore the database from a backup of before, or ask for help with what is named: nothing of the service \
    makes such rows";
const DELETE_RUN: &str = "nobody can reach these rows: delete them by their run, once a backup is made";

/// Rows of a table that belong to no run; the column names a row best.
macro_rules! of_no_run {
    ($what:literal, $table:literal, $column:literal) => {
        Question {
            check: "references",
            what: concat!($what, " belong to no run"),
            todo: DELETE_RUN,
            text: concat!(
                "SELECT t.tenant_id AS tenant, t.run_id AS id, t.", $column, " AS name FROM ", $table, " AS t
                WHERE NOT EXISTS (SELECT 1 FROM run AS r WHERE r.run_id = t.run_id AND r.tenant_id = t.tenant_id) LIMIT 11"
            ),
        }
    };
}

const QUESTIONS: &[Question] = &[
    of_no_run!("task instances", "task_instance", "task_id"),
    of_no_run!("earlier tries", "attempt", "task_id"),
    of_no_run!("members of gangs", "member", "task_id"),
    of_no_run!("claims of attempts", "attempt_claim", "task_id"),
    of_no_run!("results", "result", "task_id"),
    of_no_run!("questions to people", "input_request", "task_id"),
    of_no_run!("entries of the history", "event", "dag_id"),
    Question {
        check: "references",
        what: "results belong to no task instance",
        todo: RESTORE,
        text: "SELECT t.tenant_id AS tenant, t.run_id AS id, t.task_id AS name FROM result AS t
            WHERE EXISTS (SELECT 1 FROM run AS r WHERE r.run_id = t.run_id AND r.tenant_id = t.tenant_id AND r.quarantine IS NULL)
            AND NOT EXISTS (SELECT 1 FROM task_instance AS i WHERE i.tenant_id = t.tenant_id AND i.run_id = t.run_id
              AND i.task_id = t.task_id AND i.map_index = t.map_index) LIMIT 11",
    },
    Question {
        check: "references",
        what: "unfinished runs have a DAG that isn't there",
        todo: "delete these runs (`updraft runs delete`), or activate the DAG again",
        text: "SELECT r.tenant_id AS tenant, r.run_id AS id, r.dag_id AS name FROM run AS r WHERE NOT r.finished
            AND NOT EXISTS (SELECT 1 FROM dag AS d WHERE d.tenant_id = r.tenant_id AND d.dag_id = r.dag_id) LIMIT 11",
    },
    Question {
        check: "references",
        what: "runs are pinned to a version of their DAG that isn't stored",
        todo: RESTORE,
        text: "SELECT r.tenant_id AS tenant, r.run_id AS id, r.version AS name FROM run AS r WHERE NOT EXISTS (
            SELECT 1 FROM dag_version AS v WHERE v.tenant_id = r.tenant_id AND v.dag_id = r.dag_id AND v.version = r.version)
            LIMIT 11",
    },
    Question {
        check: "references",
        what: "runs are pinned to a bundle that isn't stored",
        todo: RESTORE,
        text: "SELECT r.tenant_id AS tenant, r.run_id AS id, r.bundle AS name FROM run AS r WHERE NOT EXISTS (
            SELECT 1 FROM bundle AS b WHERE b.tenant_id = r.tenant_id AND b.digest = r.bundle) LIMIT 11",
    },
    Question {
        check: "references",
        what: "DAGs have a version that isn't stored",
        todo: "activate the bundle with these DAGs again: touch one of its files, or deploy it",
        text: "SELECT d.tenant_id AS tenant, NULL AS id, d.dag_id AS name FROM dag AS d WHERE NOT EXISTS (
            SELECT 1 FROM dag_version AS v WHERE v.tenant_id = d.tenant_id AND v.dag_id = d.dag_id AND v.version = d.version)
            LIMIT 11",
    },
    Question {
        check: "references",
        what: "DAGs have a bundle that isn't stored",
        todo: "activate the bundle with these DAGs again: touch one of its files, or deploy it",
        text: "SELECT d.tenant_id AS tenant, NULL AS id, d.dag_id AS name FROM dag AS d WHERE NOT EXISTS (
            SELECT 1 FROM bundle AS b WHERE b.tenant_id = d.tenant_id AND b.digest = d.bundle) LIMIT 11",
    },
    Question {
        check: "references",
        what: "asset events wait for a DAG that isn't there",
        todo: RESTORE,
        text: "SELECT p.tenant_id AS tenant, NULL AS id, p.dag_id AS name FROM pending_asset AS p WHERE NOT EXISTS (
            SELECT 1 FROM dag AS d WHERE d.tenant_id = p.tenant_id AND d.dag_id = p.dag_id) LIMIT 11",
    },
    Question {
        check: "references",
        what: "runs belong to a backfill that isn't there",
        todo: RESTORE,
        text: "SELECT r.tenant_id AS tenant, r.run_id AS id, r.run_name AS name FROM run AS r
            WHERE r.backfill_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM backfill AS b WHERE b.tenant_id = r.tenant_id AND b.id = r.backfill_id) LIMIT 11",
    },
    Question {
        check: "references",
        what: "runs belong to a tenant that isn't there",
        todo: RESTORE,
        text: "SELECT r.tenant_id AS tenant, r.run_id AS id, r.run_name AS name FROM run AS r WHERE NOT EXISTS (
            SELECT 1 FROM tenant AS t WHERE t.id = r.tenant_id) LIMIT 11",
    },
    Question {
        check: "references",
        what: "DAGs belong to a tenant that isn't there",
        todo: RESTORE,
        text: "SELECT d.tenant_id AS tenant, NULL AS id, d.dag_id AS name FROM dag AS d WHERE NOT EXISTS (
            SELECT 1 FROM tenant AS t WHERE t.id = d.tenant_id) LIMIT 11",
    },
    Question {
        check: "references",
        what: "requests in the inbox belong to a tenant that isn't there",
        todo: RESTORE,
        text: "SELECT i.tenant_id AS tenant, NULL AS id, i.kind AS name FROM inbox AS i WHERE NOT EXISTS (
            SELECT 1 FROM tenant AS t WHERE t.id = i.tenant_id) LIMIT 11",
    },
    Question {
        check: "references",
        what: "active task instances are placed on a worker that was never registered",
        todo: "clear them, if they don't move on by themselves within a minute",
        text: "SELECT i.tenant_id AS tenant, i.run_id AS id, i.task_id AS name FROM task_instance AS i
            WHERE i.worker_id IS NOT NULL AND i.state IN ('queued', 'running', 'restarting')
            AND NOT EXISTS (SELECT 1 FROM worker AS w WHERE w.id = i.worker_id) LIMIT 11",
    },
    Question {
        check: "states",
        what: "task instances aren't finished, but their run is",
        todo: "clear them, or mark them, so that they get a state that fits",
        text: "SELECT i.tenant_id AS tenant, i.run_id AS id, i.task_id AS name FROM run AS r JOIN task_instance AS i
              ON i.tenant_id = r.tenant_id AND i.run_id = r.run_id
            WHERE r.finished AND i.state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed') LIMIT 11",
    },
    Question {
        check: "states",
        what: "finished runs have no end",
        todo: RESTORE,
        text: "SELECT r.tenant_id AS tenant, r.run_id AS id, r.run_name AS name FROM run AS r
            WHERE r.finished AND r.ended_at IS NULL LIMIT 11",
    },
    Question {
        check: "formats",
        what: "requests in the inbox have a format that this release doesn't read",
        todo: "let the release that wrote them take them, or delete them",
        text: "SELECT tenant_id AS tenant, NULL AS id, kind AS name FROM inbox WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "formats",
        what: "entries of the history have a format that this release doesn't read",
        todo: "use the release that wrote them",
        text: "SELECT tenant_id AS tenant, run_id AS id, dag_id AS name FROM event WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "formats",
        what: "versions of DAGs have a format that this release doesn't read",
        todo: "use the release that wrote them",
        text: "SELECT tenant_id AS tenant, NULL AS id, dag_id AS name FROM dag_version WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "formats",
        what: "backfills have a format that this release doesn't read",
        todo: "use the release that wrote them",
        text: "SELECT tenant_id AS tenant, NULL AS id, dag_id AS name FROM backfill WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "formats",
        what: "pieces of work to continue have a format that this release doesn't read",
        todo: "use the release that wrote them",
        text: "SELECT NULL AS tenant, shard_id AS id, work AS name FROM continuation WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "formats",
        what: "quotas have a format that this release doesn't read",
        todo: "use the release that wrote them, or set them again",
        text: "SELECT NULL AS tenant, shard_id AS id, name FROM quota WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "formats",
        what: "members of gangs have a format that this release doesn't read",
        todo: "use the release that wrote them",
        text: "SELECT tenant_id AS tenant, run_id AS id, task_id AS name FROM member WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "formats",
        what: "questions to people have a format that this release doesn't read",
        todo: "use the release that wrote them",
        text: "SELECT tenant_id AS tenant, run_id AS id, task_id AS name FROM input_request WHERE format <> 1 LIMIT 11",
    },
    Question {
        check: "quarantine",
        what: "DAGs are quarantined: nothing of them runs",
        todo: "mend what `reason` says and release them (`updraft dags release`), or delete them",
        text: "SELECT tenant_id AS tenant, NULL AS id, dag_id AS name FROM dag WHERE quarantine IS NOT NULL LIMIT 11",
    },
    Question {
        check: "secrets",
        what: "variables are sealed with a key that isn't there",
        todo: "restore the table `tenant_key` from a backup, or set these variables again",
        text: "SELECT v.tenant_id AS tenant, NULL AS id, v.name AS name FROM variable AS v WHERE v.sealed IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM tenant_key AS k WHERE k.tenant_id = v.tenant_id) LIMIT 11",
    },
    Question {
        check: "secrets",
        what: "connections are sealed with a key that isn't there",
        todo: "restore the table `tenant_key` from a backup, or set these connections again",
        text: "SELECT c.tenant_id AS tenant, NULL AS id, c.name AS name FROM connection AS c WHERE c.sealed IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM tenant_key AS k WHERE k.tenant_id = c.tenant_id) LIMIT 11",
    },
];

/// Something that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind of check.
    pub check: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// Where, as far as it is named: at most [`NAMED_MAX`] and then `and more`.
    pub places: Vec<String>,
    /// What to do.
    pub todo: &'static str,
}

async fn ask(db: &Db, text: &str, values: Vec<sea_orm::Value>) -> Result<Vec<QueryResult>, Error> {
    let statement = Statement::from_sql_and_values(db.read().get_database_backend(), text, values);
    db.read().query_all_raw(statement).await.doing("look for rows that shouldn't be")
}

fn place(row: &QueryResult) -> Result<String, Error> {
    let doing = "look for rows that shouldn't be";
    let tenant: Option<Uuid> = row.try_get("", "tenant").doing(doing)?;
    let id: Option<Uuid> = row.try_get("", "id").doing(doing)?;
    let name: Option<String> = row.try_get("", "name").doing(doing)?;
    let parts = [
        tenant.map(|tenant| format!("tenant {tenant}")),
        id.map(|id| format!("run {id}")),
        name.map(|name| format!("`{}`", name.chars().take(100).collect::<String>())),
    ];
    Ok(parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Asks everything. Nothing is found in a database that is whole.
pub async fn examine(db: &Db) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for Question { check, what, todo, text } in QUESTIONS {
        let found = ask(db, text, Vec::new()).await?;
        findings.extend(finding(check, what, todo, &found)?);
    }
    let text = db.pick(
        "SELECT tenant_id AS tenant, run_id AS id, run_name AS name FROM run WHERE quarantine IS NOT NULL AND quarantine <> ?1
            LIMIT 11",
        "SELECT tenant_id AS tenant, run_id AS id, run_name AS name FROM run WHERE quarantine IS NOT NULL AND quarantine <> $1
            LIMIT 11",
    );
    let found = ask(db, text, vec![RETIRED.into()]).await?;
    let what = "runs are quarantined: nothing of them runs";
    let todo = "mend what their `reason` says and release them (`updraft runs release`), or delete them";
    findings.extend(finding("quarantine", what, todo, &found)?);
    Ok(findings)
}

fn finding(
    check: &'static str,
    what: &'static str,
    todo: &'static str,
    found: &[QueryResult],
) -> Result<Option<Finding>, Error> {
    if found.is_empty() {
        return Ok(None);
    }
    let mut places = found.iter().take(NAMED_MAX).map(place).collect::<Result<Vec<_>, _>>()?;
    if found.len() > NAMED_MAX {
        places.push("and more".to_owned());
    }
    Ok(Some(Finding { check, what, places, todo }))
}

/// Tells every attempt that there is a row of, page by page.
pub async fn each_attempt(db: &Db, mut tell: impl FnMut(AttemptId)) -> Result<(), Error> {
    let doing = "read all attempts";
    let text = db.pick(
        "SELECT tenant_id, run_id, task_id, map_index, try_number FROM task_instance
            WHERE (tenant_id, run_id, task_id, map_index) > (?1, ?2, ?3, ?4)
            ORDER BY tenant_id, run_id, task_id, map_index LIMIT ?5",
        "SELECT tenant_id, run_id, task_id, map_index, try_number FROM task_instance
            WHERE (tenant_id, run_id, task_id, map_index) > ($1, $2, $3, $4)
            ORDER BY tenant_id, run_id, task_id, map_index LIMIT $5",
    );
    let mut from = (Uuid::nil(), Uuid::nil(), String::new(), i32::MIN);
    loop {
        let values = vec![from.0.into(), from.1.into(), from.2.clone().into(), from.3.into(), PAGE.into()];
        let found = ask(db, text, values).await?;
        for row in &found {
            let run: Uuid = row.try_get("", "run_id").doing(doing)?;
            let map_index: i32 = row.try_get("", "map_index").doing(doing)?;
            let task: String = row.try_get("", "task_id").doing(doing)?;
            let tries: i32 = row.try_get("", "try_number").doing(doing)?;
            from = (row.try_get("", "tenant_id").doing(doing)?, run, task.clone(), map_index);
            let Ok(task) = TaskId::parse(&task) else { continue };
            // Earlier tries have smaller numbers.
            for number in 0..=tries.max(0) as u32 {
                tell(AttemptId::derive(RunId(run), &task, map_index, number));
            }
        }
        if found.len() < PAGE as usize {
            return Ok(());
        }
    }
}

/// Tells every object that a large result names, in order.
pub async fn each_digest(db: &Db, mut tell: impl FnMut(String)) -> Result<(), Error> {
    let text = db.pick(
        "SELECT DISTINCT digest FROM result WHERE digest IS NOT NULL AND digest > ?1 ORDER BY digest LIMIT ?2",
        "SELECT DISTINCT digest FROM result WHERE digest IS NOT NULL AND digest > $1 ORDER BY digest LIMIT $2",
    );
    let mut from = String::new();
    loop {
        let found = ask(db, text, vec![from.clone().into(), PAGE.into()]).await?;
        for row in &found {
            from = row.try_get("", "digest").doing("read all large results")?;
            tell(from.clone());
        }
        if found.len() < PAGE as usize {
            return Ok(());
        }
    }
}

/// The bundles that rows name.
pub async fn bundles(db: &Db) -> Result<Vec<String>, Error> {
    let found = ask(db, "SELECT DISTINCT digest FROM bundle ORDER BY digest", Vec::new()).await?;
    found.iter().map(|row| row.try_get("", "digest").doing("read all bundles")).collect()
}
