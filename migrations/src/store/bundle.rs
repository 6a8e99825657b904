//! Bundles and the DAG versions in them. Their bytes are in the object store; here is what they are.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{BundleId, DagId, DagVersion},
    model::Dag,
    time::Timestamp,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Statement,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};
use serde_json::json;

use crate::{
    columns::without_nul,
    db::Db,
    entity::{bundle, dag_version},
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::audit,
};

/// DAG versions that one statement inserts; keeps the number of parameters far below what both databases allow.
const VERSIONS_PER_INSERT: usize = 500;

/// A bundle that is to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBundle {
    /// Its content address.
    pub digest: BundleId,
    /// The size of its packed form.
    pub bytes: u64,
    /// How many files it has.
    pub files: u32,
    /// Who made it.
    pub created_by: Option<String>,
    /// The DAGs in it.
    pub versions: Vec<NewVersion>,
}

/// A DAG version that is to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVersion {
    /// The hash of the model.
    pub version: DagVersion,
    /// The model.
    pub model: Arc<Dag>,
    /// The path of the file that it came from, within the bundle.
    pub source: String,
}

/// A stored bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its content address.
    pub digest: BundleId,
    /// The size of its packed form.
    pub bytes: u64,
    /// How many files it has.
    pub files: u32,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// Who stored it first.
    pub created_by: Option<String>,
    /// When it was last activated.
    pub activated_at: Option<Timestamp>,
}

/// A stored DAG version.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// The DAG.
    pub dag_id: DagId,
    /// The hash of the model.
    pub version: DagVersion,
    /// The model.
    pub model: Arc<Dag>,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// The bundle that had it first.
    pub bundle: BundleId,
    /// The path of the file that it came from, within that bundle.
    pub source: String,
}

/// Who makes the bundles of the folder that a service watches.
pub const FOLDER: &str = "folder";
/// Comes before the name of who sent one.
const DEPLOYED: &str = "deploy:";

/// What a bundle is marked with that somebody sent.
pub fn deployed_by(actor: &str) -> String {
    [DEPLOYED, actor].concat()
}

impl Bundle {
    /// Who sent it; none if it was made of a folder that is watched.
    pub fn deployed_by(&self) -> Option<&str> {
        self.created_by.as_deref()?.strip_prefix(DEPLOYED)
    }

    /// Whether somebody sent it.
    pub fn is_deployed(&self) -> bool {
        self.deployed_by().is_some()
    }
}

/// The bundle that was made active last.
pub async fn active(db: &Db, scope: TenantScope) -> Result<Option<Bundle>, Error> {
    let found = bundle::Entity::find()
        .filter(bundle::Column::TenantId.eq(scope.tenant().0))
        .filter(bundle::Column::ActivatedAt.is_not_null())
        .order_by_desc(bundle::Column::ActivatedAt)
        .order_by_desc(bundle::Column::Digest)
        .one(db.read())
        .await
        .doing("look for the active bundle")?;
    Ok(found.map(read))
}

/// Stores a bundle that somebody sent, and notes it in the audit log.
pub async fn send(db: &Db, scope: TenantScope, actor: &str, new: &NewBundle) -> Result<(), Error> {
    let doing = "store a bundle that was sent";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    insert(db, &transaction, scope, now, new).await?;
    let payload = json!({ "bundle": new.digest.to_string(), "bytes": new.bytes, "files": new.files });
    audit::note(&transaction, scope, now, actor, "send_bundle", &payload).await?;
    transaction.commit().await.doing(doing)
}

/// Stores a bundle and its DAG versions, whole or not at all. What is there already stays as it is, but that it was stored again is
/// noted: it isn't deleted before it can be activated.
pub async fn store(db: &Db, scope: TenantScope, new: &NewBundle) -> Result<(), Error> {
    let doing = "store a bundle";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    insert(db, &transaction, scope, now, new).await?;
    transaction.commit().await.doing(doing)
}

async fn insert(
    db: &Db,
    transaction: &impl ConnectionTrait,
    scope: TenantScope,
    now: i64,
    new: &NewBundle,
) -> Result<(), Error> {
    let doing = "store a bundle";
    let tenant = scope.tenant().0;
    bundle::Entity::insert(bundle::ActiveModel {
        tenant_id: Set(tenant),
        digest: Set(new.digest.to_string()),
        bytes: Set(new.bytes as i64),
        files: Set(new.files as i32),
        created_at: Set(now),
        created_by: Set(new.created_by.as_deref().map(|by| without_nul(by).into_owned())),
        activated_at: Set(None),
        stored_at: Set(Some(now)),
    })
    .on_conflict(
        OnConflict::columns([bundle::Column::TenantId, bundle::Column::Digest])
            .update_column(bundle::Column::StoredAt)
            .to_owned(),
    )
    .exec_without_returning(transaction)
    .await
    .doing(doing)?;
    for chunk in new.versions.chunks(VERSIONS_PER_INSERT) {
        let rows = chunk.iter().map(|version| dag_version::ActiveModel {
            tenant_id: Set(tenant),
            dag_id: Set(version.model.dag_id.to_string()),
            version: Set(version.version.to_string()),
            format: Set(version.model.format as i32),
            model: Set(rows::to_json(&*version.model)),
            created_at: Set(now),
            bundle: Set(new.digest.to_string()),
            source: Set(without_nul(&version.source).into_owned()),
            stored_at: Set(Some(now)),
            number: Set(None),
        });
        dag_version::Entity::insert_many(rows)
            .on_conflict(
                OnConflict::columns([
                    dag_version::Column::TenantId,
                    dag_version::Column::DagId,
                    dag_version::Column::Version,
                ])
                .update_column(dag_version::Column::StoredAt)
                .to_owned(),
            )
            .exec_without_returning(transaction)
            .await
            .doing(doing)?;
    }
    let new_ones = Statement::from_sql_and_values(
        db.write().get_database_backend(),
        db.pick(NUMBER.0, NUMBER.1),
        [tenant.into()],
    );
    transaction.execute_raw(new_ones).await.doing("number the versions of DAGs").map(drop)
}

/// Gives the versions that have none the next number of their DAG. A bundle has one version of a DAG.
const NUMBER: (&str, &str) = (
    "UPDATE dag_version AS v SET number = 1 + (SELECT coalesce(max(o.number), 0) FROM dag_version AS o
        WHERE o.tenant_id = v.tenant_id AND o.dag_id = v.dag_id)
      WHERE v.tenant_id = ?1 AND v.number IS NULL",
    "UPDATE dag_version AS v SET number = 1 + (SELECT coalesce(max(o.number), 0) FROM dag_version AS o
        WHERE o.tenant_id = v.tenant_id AND o.dag_id = v.dag_id)
      WHERE v.tenant_id = $1 AND v.number IS NULL",
);

/// The newest bundles, by when they were first stored.
pub async fn list(db: &Db, scope: TenantScope, limit: u64) -> Result<Vec<Bundle>, Error> {
    let found = bundle::Entity::find()
        .filter(bundle::Column::TenantId.eq(scope.tenant().0))
        .order_by_desc(bundle::Column::CreatedAt)
        .order_by_desc(bundle::Column::Digest)
        .limit(limit)
        .all(db.read())
        .await
        .doing("list bundles")?;
    Ok(found.into_iter().map(read).collect())
}

/// One bundle.
pub async fn get(db: &Db, scope: TenantScope, digest: &BundleId) -> Result<Option<Bundle>, Error> {
    let found = bundle::Entity::find_by_id((scope.tenant().0, digest.to_string())).one(db.read()).await;
    Ok(found.doing("read a bundle")?.map(read))
}

fn read(row: bundle::Model) -> Bundle {
    Bundle {
        digest: BundleId(row.digest.into()),
        bytes: row.bytes as u64,
        files: row.files as u32,
        created_at: Timestamp(row.created_at),
        created_by: row.created_by,
        activated_at: row.activated_at.map(Timestamp),
    }
}

/// One version of a DAG.
pub async fn version(
    db: &Db,
    scope: TenantScope,
    dag: &DagId,
    version: &DagVersion,
) -> Result<Option<Version>, Error> {
    let key = (scope.tenant().0, dag.to_string(), version.to_string());
    let found = dag_version::Entity::find_by_id(key).one(db.read()).await.doing("read a DAG version")?;
    found.map(read_version).transpose()
}

/// Those of some versions that are there and can be read. [`version`] says what is wrong with one that can't.
pub async fn some_versions(
    db: &Db,
    scope: TenantScope,
    wanted: &BTreeSet<(DagId, DagVersion)>,
) -> Result<Vec<Version>, Error> {
    let keys = wanted.iter().map(|(dag, version)| (dag.to_string(), version.to_string()));
    let key = Expr::tuple([Expr::col(dag_version::Column::DagId), Expr::col(dag_version::Column::Version)]);
    let found = dag_version::Entity::find()
        .filter(dag_version::Column::TenantId.eq(scope.tenant().0))
        .filter(key.in_tuples(keys))
        .all(db.read())
        .await
        .doing("read DAG versions")?;
    Ok(found.into_iter().filter_map(|row| read_version(row).ok()).collect())
}

/// All versions of a DAG, newest first.
pub async fn versions(db: &Db, scope: TenantScope, dag: &DagId) -> Result<Vec<Version>, Error> {
    let found = dag_version::Entity::find()
        .filter(dag_version::Column::TenantId.eq(scope.tenant().0))
        .filter(dag_version::Column::DagId.eq(dag.as_str()))
        .order_by_desc(dag_version::Column::CreatedAt)
        .order_by_desc(dag_version::Column::Version)
        .all(db.read())
        .await
        .doing("list a DAG's versions")?;
    found.into_iter().map(read_version).collect()
}

/// A DAG version without its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The DAG.
    pub dag_id: DagId,
    /// The hash of the model.
    pub version: DagVersion,
    /// Which version of the DAG it is in the order in which they were stored, from 1. It stays the same when earlier ones go.
    pub number: u32,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// The bundle that had it first.
    pub bundle: BundleId,
    /// The path of the file that it came from, within that bundle.
    pub source: String,
}

/// All versions of those DAGs without their models, by DAG and number.
pub async fn numbered(db: &Db, scope: TenantScope, dags: &[DagId]) -> Result<Vec<Numbered>, Error> {
    let found: Vec<(String, String, i64, String, String, Option<i32>)> = dag_version::Entity::find()
        .select_only()
        .columns([
            dag_version::Column::DagId,
            dag_version::Column::Version,
            dag_version::Column::CreatedAt,
            dag_version::Column::Bundle,
            dag_version::Column::Source,
            dag_version::Column::Number,
        ])
        .filter(dag_version::Column::TenantId.eq(scope.tenant().0))
        .filter(dag_version::Column::DagId.is_in(dags.iter().map(DagId::as_str)))
        .order_by_asc(dag_version::Column::DagId)
        .order_by_asc(dag_version::Column::CreatedAt)
        .order_by_asc(dag_version::Column::Version)
        .into_tuple()
        .all(db.read())
        .await
        .doing("number the versions of DAGs")?;
    let mut numbered: Vec<Numbered> = Vec::with_capacity(found.len());
    for (dag, version, created_at, bundle, source, number) in found {
        let dag_id: DagId = rows::name("dag_version", &dag)?;
        let next = match numbered.last() {
            Some(last) if last.dag_id == dag_id => last.number + 1,
            _ => 1,
        };
        // One that a process of the release before has stored has none until the next bundle is.
        let number = number.map_or(next, i32::unsigned_abs);
        numbered.push(Numbered {
            dag_id,
            version: DagVersion(version.into()),
            number,
            created_at: Timestamp(created_at),
            bundle: BundleId(bundle.into()),
            source,
        });
    }
    Ok(numbered)
}

fn read_version(row: dag_version::Model) -> Result<Version, Error> {
    Ok(Version {
        dag_id: rows::name("dag_version", &row.dag_id)?,
        model: rows::model(&row)?,
        version: DagVersion(row.version.into()),
        created_at: Timestamp(row.created_at),
        bundle: BundleId(row.bundle.into()),
        source: row.source,
    })
}
