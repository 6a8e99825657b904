//! The way back: what the engine is rebuilt from, what waits at its door, and runs that it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{DagId, DagVersion, RunId, ShardId, TenantId},
    model::Dag,
    time::Timestamp,
};
use engine::{
    command::{ActivatedDag, Command, InboxRow, Refusal},
    journal::{Inbox, Known, Load, Loaded},
    rows::{Broken, DagRow, MemberRow, RunRow, Snapshot, TaskRow},
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
    Statement, Value,
    sea_query::{Expr, ExprTrait as _, SelectStatement},
};
use uuid::Uuid;

mod rest;

use crate::{
    db::Db,
    entity::{dag, dag_version, inbox, member, run, task_instance, tenant},
    error::{Doing as _, Error},
    rows,
    scope::ShardScope,
};

/// Runs whose task instances are read at once.
const RUNS_PER_READ: usize = 256;
/// DAG versions that are read at once.
const VERSIONS_PER_READ: usize = 1_000;

/// Where a shard stands.
pub(super) struct ShardRow {
    pub(super) owner: Option<String>,
    pub(super) epoch: i64,
    pub(super) batch: i64,
    pub(super) now: i64,
    pub(super) expires_at: i64,
}

/// Whether to wait for a transaction that has the row locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    No,
    Yes,
}

pub(super) async fn shard(db: &Db, shard: ShardId, lock: Lock) -> Result<Option<ShardRow>, Error> {
    type Columns = (Option<String>, i64, i64, i64, i64);
    let found: Result<Option<Columns>, _> = match db {
        Db::Sqlite(sqlite) => {
            // The one writing connection: whatever was sent before is over when this is read.
            let text = "SELECT owner, epoch, batch, now, expires_at FROM shard WHERE id = ?1";
            sqlx::query_as(text).bind(shard.0).fetch_optional(&sqlite.writer).await
        }
        Db::Postgres(postgres) => {
            let text = match lock {
                Lock::No => "SELECT owner, epoch, batch, now, expires_at FROM shard WHERE id = $1",
                Lock::Yes => {
                    "SELECT owner, epoch, batch, now, expires_at FROM shard WHERE id = $1 FOR UPDATE"
                }
            };
            sqlx::query_as(text).bind(shard.0).fetch_optional(&postgres.pool).await
        }
    };
    let found = found.doing("read the shard")?;
    Ok(found.map(|(owner, epoch, batch, now, expires_at)| ShardRow { owner, epoch, batch, now, expires_at }))
}

/// The tenants of the shard, as a subquery.
fn tenants(scope: ShardScope) -> SelectStatement {
    tenant::Entity::find()
        .select_only()
        .column(tenant::Column::Id)
        .filter(tenant::Column::ShardId.eq(scope.shard().0))
        .into_query()
}

pub(super) async fn snapshot(db: &Db, scope: ShardScope) -> Result<Snapshot, Error> {
    let at = shard(db, scope.shard(), Lock::No).await?.ok_or(Error::NoShard { shard: scope.shard() })?;
    let mut broken = Vec::new();
    let (dags, quarantined_dags) = all_dags(db, scope, &mut broken).await?;
    let (mut runs, members, left_alone) = unfinished(db, scope, &quarantined_dags, &mut broken).await?;
    let inputs = rest::inputs(db, &mut runs, &mut broken).await?;
    let (pools, unreadable_pools) = rest::pools(db, scope).await?;
    let (backfills, unreadable_backfills) = rest::backfills(db, scope).await?;
    let mut wanted: BTreeSet<Version> =
        dags.iter().map(|dag| (dag.tenant, dag.dag_id.clone(), dag.version.clone())).collect();
    wanted.extend(runs.iter().map(|(run, _)| (run.tenant, run.dag_id.clone(), run.version.clone())));
    let versions = versions(db, wanted.into_iter().collect()).await?;
    let bad = |tenant, dag_id: &DagId, version: &DagVersion| {
        versions.why_not(&(tenant, dag_id.clone(), version.clone()))
    };
    let dags = keep(dags, |row| {
        let why = bad(row.tenant, &row.dag_id, &row.version)?;
        broken.push(Broken::dag(row.tenant, row.dag_id.clone(), why));
        Some(())
    });
    let runs = keep(runs, |(row, _)| {
        let why = bad(row.tenant, &row.dag_id, &row.version)?;
        broken.push(Broken::run(row.tenant, row.run, Some(row.dag_id.clone()), why));
        Some(())
    });
    Ok(Snapshot {
        now: Timestamp(at.now),
        batch: at.batch as u64,
        dags,
        versions: versions.models,
        members,
        runs,
        pools,
        quotas: rest::quotas(db, scope).await?,
        suspended: rest::suspended(db, scope).await?,
        active_bundles: rest::active_bundles(db, scope).await?,
        pending_assets: rest::pending_assets(db, scope).await?,
        backfills,
        last_backfill: rest::last_backfill(db, scope).await?,
        continuations: rest::continuations(db, scope).await?,
        inputs,
        quarantined_dags,
        broken,
        left_alone,
        unreadable_pools,
        unreadable_backfills,
    })
}

/// The rows for which there is no reason to leave them out.
fn keep<R>(rows: Vec<R>, mut bad: impl FnMut(&R) -> Option<()>) -> Vec<R> {
    rows.into_iter().filter(|row| bad(row).is_none()).collect()
}

type QuarantinedDags = BTreeMap<(TenantId, DagId), Arc<str>>;

/// All DAGs in the order of tenant and name, but for those that are quarantined, or have to be.
async fn all_dags(
    db: &Db,
    scope: ShardScope,
    broken: &mut Vec<Broken>,
) -> Result<(Vec<DagRow>, QuarantinedDags), Error> {
    let found = dag::Entity::find()
        .filter(dag::Column::TenantId.in_subquery(tenants(scope)))
        .order_by_asc(dag::Column::TenantId)
        .order_by_asc(dag::Column::DagId)
        .all(db.read())
        .await
        .doing("read DAGs")?;
    let (mut dags, mut quarantined) = (Vec::with_capacity(found.len()), BTreeMap::new());
    for row in found {
        let tenant = TenantId(row.tenant_id);
        let Ok(dag_id) = row.dag_id.parse::<DagId>() else {
            tracing::error!(tenant.id = %tenant, dag.id = row.dag_id, "a DAG has a name that is none; it is passed over");
            continue;
        };
        match (&row.quarantine, rows::dag(&row)) {
            (Some(reason), _) => drop(quarantined.insert((tenant, dag_id), reason.as_str().into())),
            (None, Ok(row)) => dags.push(row),
            (None, Err(why)) => broken.push(Broken::dag(tenant, dag_id, why.to_string())),
        }
    }
    Ok((dags, quarantined))
}

type WithTasks = (RunRow, Vec<TaskRow>);

/// Unfinished runs in the order of tenant and run, each with its task instances in the order of task and index, and the
/// members of their gangs; but for those that are quarantined, which are named, or have to be.
async fn unfinished(
    db: &Db,
    scope: ShardScope,
    quarantined: &QuarantinedDags,
    broken: &mut Vec<Broken>,
) -> Result<(Vec<WithTasks>, Vec<MemberRow>, BTreeSet<RunId>), Error> {
    let found = run::Entity::find()
        // As the partial index has it, in both databases.
        .filter(Expr::cust("NOT finished"))
        .filter(run::Column::Quarantine.is_null())
        .filter(run::Column::TenantId.in_subquery(tenants(scope)))
        .order_by_asc(run::Column::TenantId)
        .order_by_asc(run::Column::RunId)
        .all(db.read())
        .await
        .doing("read unfinished runs")?;
    let mut left_alone = rest::quarantined_runs(db, scope).await?;
    let mut runs = Vec::with_capacity(found.len());
    for row in found {
        let (tenant, run, dag_id) = (TenantId(row.tenant_id), RunId(row.run_id), row.dag_id.parse().ok());
        if dag_id.as_ref().is_some_and(|dag: &DagId| quarantined.contains_key(&(tenant, dag.clone()))) {
            left_alone.insert(run);
            continue;
        }
        match rows::Run::try_from(row) {
            Ok(row) => runs.push(row.0),
            Err(why) => broken.push(Broken::run(tenant, run, dag_id, why.to_string())),
        }
    }
    let mut tasks: BTreeMap<RunId, Vec<TaskRow>> = BTreeMap::new();
    let mut members: BTreeMap<RunId, Vec<MemberRow>> = BTreeMap::new();
    let mut bad: BTreeMap<RunId, String> = BTreeMap::new();
    for same_tenant in runs.chunk_by(|a, b| a.tenant == b.tenant) {
        for chunk in same_tenant.chunks(RUNS_PER_READ) {
            let ids: Vec<Uuid> = chunk.iter().map(|run| run.run.0).collect();
            for row in tasks_of(db, chunk[0].tenant, &ids).await? {
                let run = RunId(row.run_id);
                match rows::Task::try_from(row) {
                    Ok(row) => tasks.entry(run).or_default().push(row.0),
                    Err(why) => drop(bad.insert(run, why.to_string())),
                }
            }
            for row in members_of(db, chunk[0].tenant, &ids).await? {
                let run = RunId(row.run_id);
                match rows::member(row) {
                    Ok(row) => members.entry(run).or_default().push(row),
                    Err(why) => drop(bad.insert(run, why.to_string())),
                }
            }
        }
    }
    let mut kept = Vec::with_capacity(runs.len());
    let mut gangs = Vec::new();
    for run in runs {
        if let Some(why) = bad.remove(&run.run) {
            broken.push(Broken::run(run.tenant, run.run, Some(run.dag_id), why));
            continue;
        }
        gangs.extend(members.remove(&run.run).unwrap_or_default());
        let tasks = tasks.remove(&run.run).unwrap_or_default();
        kept.push((run, tasks));
    }
    Ok((kept, gangs, left_alone))
}

/// The members of those runs' gangs that have started or ended.
async fn members_of(db: &Db, tenant: TenantId, runs: &[Uuid]) -> Result<Vec<member::Model>, Error> {
    member::Entity::find()
        .filter(member::Column::TenantId.eq(tenant.0))
        .filter(any_of(db, runs))
        .order_by_asc(member::Column::RunId)
        .order_by_asc(member::Column::TaskId)
        .order_by_asc(member::Column::MapIndex)
        .order_by_asc(member::Column::TryNumber)
        .order_by_asc(member::Column::DispatchN)
        .order_by_asc(member::Column::Member)
        .all(db.read())
        .await
        .doing("read members of gangs")
}

async fn tasks_of(db: &Db, tenant: TenantId, runs: &[Uuid]) -> Result<Vec<task_instance::Model>, Error> {
    task_instance::Entity::find()
        .filter(task_instance::Column::TenantId.eq(tenant.0))
        .filter(any_of(db, runs))
        .order_by_asc(task_instance::Column::RunId)
        .order_by_asc(task_instance::Column::TaskId)
        .order_by_asc(task_instance::Column::MapIndex)
        .all(db.read())
        .await
        .doing("read task instances")
}

/// The run is one of these: one parameter, however many there are.
fn any_of(db: &Db, runs: &[Uuid]) -> Expr {
    match db {
        Db::Sqlite(_) => {
            let hex: Vec<String> = runs.iter().map(|id| id.simple().to_string()).collect();
            Expr::cust_with_values("run_id IN (SELECT unhex(value) FROM json_each(?))", [rows::to_json(&hex)])
        }
        Db::Postgres(_) => Expr::cust_with_values("run_id = ANY($1::uuid[])", [Value::from(runs.to_vec())]),
    }
}

type Version = (TenantId, DagId, DagVersion);

/// What was found of the versions that were asked for.
struct Versions {
    models: BTreeMap<DagVersion, Arc<Dag>>,
    /// Those that can't be had, and why.
    bad: BTreeMap<Version, String>,
}

impl Versions {
    fn why_not(&self, version: &Version) -> Option<String> {
        self.bad.get(version).cloned()
    }

    /// All of them, or an error that names the first that can't be had.
    fn all(self) -> Result<BTreeMap<DagVersion, Arc<Dag>>, Error> {
        match self.bad.into_values().next() {
            Some(why) => Err(Error::corrupt("dag_version", why)),
            None => Ok(self.models),
        }
    }
}

/// The models of those versions.
async fn versions(db: &Db, mut wanted: Vec<Version>) -> Result<Versions, Error> {
    let (mut models, mut bad) = (BTreeMap::new(), BTreeMap::new());
    wanted.sort();
    wanted.dedup();
    for chunk in wanted.chunks(VERSIONS_PER_READ) {
        let found = match db {
            Db::Sqlite(_) => {
                let keys: Vec<_> = chunk.iter().map(|(t, d, v)| (t.0.simple().to_string(), d, v)).collect();
                let sql = "SELECT v.* FROM json_each(?1) AS n CROSS JOIN dag_version AS v
                    WHERE v.tenant_id = unhex(n.value ->> 0) AND v.dag_id = n.value ->> 1 AND v.version = n.value ->> 2";
                dag_version::Entity::find().from_raw_sql(statement(db, sql, [rows::to_json(&keys).into()]))
            }
            Db::Postgres(_) => {
                let sql = "SELECT v.* FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (tenant_id, dag_id, version)
                    JOIN dag_version AS v USING (tenant_id, dag_id, version)";
                let tenants: Vec<Uuid> = chunk.iter().map(|(tenant, ..)| tenant.0).collect();
                let dags: Vec<String> = chunk.iter().map(|(_, dag, _)| dag.to_string()).collect();
                let versions: Vec<String> = chunk.iter().map(|(.., version)| version.to_string()).collect();
                let values = [Value::from(tenants), Value::from(dags), Value::from(versions)];
                dag_version::Entity::find().from_raw_sql(statement(db, sql, values))
            }
        };
        let found = found.all(db.read()).await.doing("read DAG versions")?;
        for row in &found {
            let version = DagVersion(row.version.as_str().into());
            match rows::model(row) {
                Ok(model) => drop(models.insert(version, model)),
                Err(why) => {
                    let key = (TenantId(row.tenant_id), rows::name("dag_version", &row.dag_id)?, version);
                    bad.insert(key, why.to_string());
                }
            }
        }
    }
    for key in wanted {
        let (tenant, dag, version) = &key;
        if !models.contains_key(version) && !bad.contains_key(&key) {
            let why = format!(
                "version {version} of DAG {dag} of tenant {tenant} is named by a row and isn't there"
            );
            bad.insert(key, why);
        }
    }
    Ok(Versions { models, bad })
}

fn statement<const N: usize>(db: &Db, sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(db.read().get_database_backend(), sql, values)
}

pub(super) async fn inbox(db: &Db, scope: ShardScope, skip: &[i64], limit: usize) -> Result<Inbox, Error> {
    let mut query = inbox::Entity::find()
        .filter(inbox::Column::ShardId.eq(scope.shard().0))
        .filter(inbox::Column::TakenInBatch.is_null())
        .order_by_asc(inbox::Column::Id)
        .limit(limit as u64);
    if !skip.is_empty() {
        query = query.filter(match db {
            Db::Sqlite(_) => {
                Expr::cust_with_values("id NOT IN (SELECT value FROM json_each(?))", [rows::to_json(&skip)])
            }
            Db::Postgres(_) => Expr::cust_with_values("id <> ALL($1::int8[])", [Value::from(skip.to_vec())]),
        });
    }
    let found = query.all(db.read()).await.doing("read the inbox")?;
    let mut inbox = Inbox::default();
    let mut wanted = Vec::new();
    for row in found {
        let tenant = TenantId(row.tenant_id);
        match Command::read(row.format as u32, &row.payload) {
            Ok(command) => {
                wanted.extend(named(tenant, &command));
                inbox.rows.push(InboxRow { id: row.id, tenant, actor: row.actor, command });
            }
            Err(refusal) => inbox.refused.push((row.id, refusal)),
        }
    }
    let found = versions(db, wanted).await?;
    for row in std::mem::take(&mut inbox.rows) {
        let bad = named(row.tenant, &row.command).into_iter().find_map(|version| found.why_not(&version));
        match bad {
            Some(why) => inbox.refused.push((row.id, Refusal::new("dag_version.unreadable", why))),
            None => inbox.rows.push(row),
        }
    }
    inbox.versions = found.models;
    Ok(inbox)
}

/// The versions that a request names.
fn named(tenant: TenantId, command: &Command) -> Vec<Version> {
    let Command::ActivateBundle { dags, .. } = command else { return Vec::new() };
    let version = |dag: &ActivatedDag| (tenant, dag.dag_id.clone(), dag.version.clone());
    dags.iter().map(version).collect()
}

pub(super) async fn load(db: &Db, scope: ShardScope, load: Load) -> Result<Loaded, Error> {
    let query = run::Entity::find().filter(run::Column::TenantId.in_subquery(tenants(scope)));
    let of = |tenant: &TenantId, dag: &DagId| {
        run::Column::TenantId.eq(tenant.0).and(run::Column::DagId.eq(dag.as_str()))
    };
    let query = match &load {
        Load::ById(run) => query.filter(run::Column::RunId.eq(run.0)),
        Load::Run(tenant, dag, name) => {
            query.filter(of(tenant, dag)).filter(run::Column::RunName.eq(name.as_str()))
        }
        Load::At(tenant, dag, date) => {
            query.filter(of(tenant, dag)).filter(run::Column::LogicalDate.eq(date.0))
        }
        Load::Before(tenant, dag, date) => query
            .filter(of(tenant, dag))
            .filter(run::Column::LogicalDate.lt(date.0))
            .order_by_desc(run::Column::LogicalDate),
    };
    let Some(found) = query.one(db.read()).await.doing("load a run")? else {
        return Ok(Loaded::new(load, None));
    };
    let (tenant, run) = (TenantId(found.tenant_id), RunId(found.run_id));
    let date = found.logical_date.map(Timestamp);
    let reason = match found.quarantine.clone() {
        Some(reason) => reason,
        None => match with_tasks(db, found).await {
            Ok(run) => return Ok(Loaded::new(load, Some(run))),
            // Not to be read again and again: whoever asked is told.
            Err(why @ Error::Corrupt { .. }) => why.to_string(),
            Err(why) => return Err(why),
        },
    };
    Ok(Loaded { quarantined: Some(Known { tenant, run, date, reason }), ..Loaded::new(load, None) })
}

async fn with_tasks(db: &Db, found: run::Model) -> Result<(RunRow, Vec<TaskRow>, Arc<Dag>), Error> {
    let run = rows::Run::try_from(found)?.0;
    let tasks = tasks_of(db, run.tenant, &[run.run.0]).await?;
    let tasks =
        tasks.into_iter().map(|row| Ok(rows::Task::try_from(row)?.0)).collect::<Result<_, Error>>()?;
    let mut models =
        versions(db, vec![(run.tenant, run.dag_id.clone(), run.version.clone())]).await?.all()?;
    let model =
        models.remove(&run.version).ok_or_else(|| Error::corrupt("dag_version", run.version.to_string()))?;
    Ok((run, tasks, model))
}
