//! DAGs as lists and pages show them: what the engine keeps, with the newest model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{ids::DagId, model::Dag};
use engine::rows::DagRow;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Statement,
    sea_query::{Expr, Query},
};
use serde::Deserialize;

use crate::{
    db::Db,
    entity::{dag, dag_version, import_error},
    error::{Doing as _, Error},
    policy::{Pattern, Visible},
    rows,
    scope::TenantScope,
    store::{Page, Window},
};

/// A DAG with its newest model.
#[derive(Debug, Clone, PartialEq)]
pub struct DagWithModel {
    /// What the engine keeps.
    pub row: DagRow,
    /// The model of the newest version, or why it can't be read.
    model: Result<Arc<Dag>, String>,
    /// The path of the file that it came from, within the bundle that had it first; empty if that isn't known.
    pub source: String,
    /// Why the engine leaves it alone, if it does.
    pub quarantine: Option<String>,
    /// Whether that file can't be used as it is now, so that this is an older version.
    pub broken: bool,
}

impl DagWithModel {
    /// The model of the newest version; an error if it can't be read, though the DAG can.
    pub fn model(&self) -> Result<&Arc<Dag>, Error> {
        self.model.as_ref().map_err(|why| Error::corrupt("dag_version", why.clone()))
    }

    /// The labels of the newest version; none if it can't be read.
    pub fn tags(&self) -> BTreeSet<String> {
        self.model.as_ref().map(|model| model.tags.clone()).unwrap_or_default()
    }
}

/// Which DAGs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DagFilter {
    /// Only paused ones, or only others.
    pub paused: Option<bool>,
    /// Also those that the newest bundle no longer has.
    pub with_stale: bool,
    /// Only those whose name has this text in it.
    pub name_contains: Option<String>,
    /// Only those with this label.
    pub tag: Option<String>,
    /// Only those after this one.
    pub after: Option<DagId>,
    /// Only these; none for the service itself, which sees all.
    pub visible: Option<Visible>,
}

/// DAGs by name. The total doesn't mind `after`.
pub async fn list(
    db: &Db,
    scope: TenantScope,
    filter: &DagFilter,
    window: Window,
) -> Result<Page<DagWithModel>, Error> {
    let doing = "list DAGs";
    let mut query = dag::Entity::find().filter(dag::Column::TenantId.eq(scope.tenant().0));
    if let Some(paused) = filter.paused {
        query = query.filter(dag::Column::Paused.eq(paused));
    }
    if !filter.with_stale {
        query = query.filter(dag::Column::Stale.eq(false));
    }
    if let Some(text) = &filter.name_contains {
        query = query.filter(super::contains(db, dag::Column::DagId, text));
    }
    if let Some(visible) = &filter.visible {
        query = query.filter(visible.condition(db, scope.tenant().0, dag::Column::DagId));
    }
    if let Some(tag) = &filter.tag {
        let tagged = Visible { allow: BTreeSet::from([Pattern::Tag(tag.clone())]), deny: BTreeSet::new() };
        query = query.filter(tagged.condition(db, scope.tenant().0, dag::Column::DagId));
    }
    let total = query.clone().count(db.read()).await.doing(doing)?;
    if let Some(after) = &filter.after {
        query = query.filter(dag::Column::DagId.gt(after.as_str()));
    }
    let query = query.order_by_asc(dag::Column::DagId).limit(window.limit).offset(window.offset);
    let found = query.all(db.read()).await.doing(doing)?;
    Ok(Page { rows: with_models(db, scope, &found).await?, total })
}

/// One DAG.
pub async fn get(db: &Db, scope: TenantScope, dag: &DagId) -> Result<Option<DagWithModel>, Error> {
    let key = (scope.tenant().0, dag.to_string());
    let found = dag::Entity::find_by_id(key).one(db.read()).await.doing("read a DAG")?;
    Ok(with_models(db, scope, found.as_slice()).await?.pop())
}

/// The model of a DAG's newest version, for who needs nothing else of it. None if one of them isn't there.
pub async fn model(db: &Db, scope: TenantScope, dag: &DagId) -> Result<Option<Arc<Dag>>, Error> {
    let mut newest = Query::select();
    newest
        .column(dag::Column::Version)
        .from(dag::Entity)
        .and_where(dag::Column::TenantId.eq(scope.tenant().0))
        .and_where(dag::Column::DagId.eq(dag.as_str()));
    let found = dag_version::Entity::find()
        .filter(dag_version::Column::TenantId.eq(scope.tenant().0))
        .filter(dag_version::Column::DagId.eq(dag.as_str()))
        .filter(dag_version::Column::Version.in_subquery(newest))
        .one(db.read())
        .await
        .doing("read the model of a DAG")?;
    found.as_ref().map(rows::model).transpose()
}

/// The tags of a DAG's newest version; none if there is no such DAG or its model can't be read.
pub async fn tags_of(db: &Db, scope: TenantScope, dag: &DagId) -> Result<BTreeSet<String>, Error> {
    #[derive(Deserialize)]
    struct Tags {
        tags: BTreeSet<String>,
    }
    // The database would refuse all of the statement over a model that is no document.
    let sql = db.pick(
        "SELECT v.model FROM dag AS d JOIN dag_version AS v
          ON v.tenant_id = d.tenant_id AND v.dag_id = d.dag_id AND v.version = d.version
          WHERE d.tenant_id = ?1 AND d.dag_id = ?2",
        "SELECT v.model FROM dag AS d JOIN dag_version AS v
          ON v.tenant_id = d.tenant_id AND v.dag_id = d.dag_id AND v.version = d.version
          WHERE d.tenant_id = $1 AND d.dag_id = $2",
    );
    let doing = "read the tags of a DAG";
    let values = [scope.tenant().0.into(), dag.as_str().into()];
    let statement = Statement::from_sql_and_values(db.read().get_database_backend(), sql, values);
    let Some(found) = db.read().query_one_raw(statement).await.doing(doing)? else {
        return Ok(BTreeSet::new());
    };
    let model: String = found.try_get("", "model").doing(doing)?;
    Ok(serde_json::from_str(&model).map(|Tags { tags }| tags).unwrap_or_default())
}

/// The tags of the tenant's DAGs that may be seen and aren't stale, each once.
pub async fn tags(db: &Db, scope: TenantScope, visible: &Visible) -> Result<BTreeSet<String>, Error> {
    // PostgreSQL reads `json`, not `jsonb`, which refuses a NUL somewhere else in the model.
    let tags = db.pick(
        "(SELECT json_extract(v.model, '$.tags') FROM dag_version AS v WHERE v.tenant_id = dag.tenant_id
          AND v.dag_id = dag.dag_id AND v.version = dag.version)",
        "(SELECT (v.model::json -> 'tags')::text FROM dag_version AS v WHERE v.tenant_id = dag.tenant_id
          AND v.dag_id = dag.dag_id AND v.version = dag.version)",
    );
    let found: Vec<Option<String>> = dag::Entity::find()
        .select_only()
        .column_as(Expr::cust(tags), "tags")
        .filter(dag::Column::TenantId.eq(scope.tenant().0))
        .filter(dag::Column::Stale.eq(false))
        .filter(visible.condition(db, scope.tenant().0, dag::Column::DagId))
        .into_tuple()
        .all(db.read())
        .await
        .doing("list the tags of DAGs")?;
    let read = |text: String| rows::json::<Vec<String>>("dag_version", &text);
    let tags = super::readable(found.into_iter().flatten(), |text| format!("tags {text}"), read);
    Ok(tags.into_iter().flatten().collect())
}

async fn with_models(db: &Db, scope: TenantScope, found: &[dag::Model]) -> Result<Vec<DagWithModel>, Error> {
    let models = dag_version::Entity::find()
        .filter(dag_version::Column::TenantId.eq(scope.tenant().0))
        .filter(dag_version::Column::DagId.is_in(found.iter().map(|row| row.dag_id.as_str())))
        .filter(dag_version::Column::Version.is_in(found.iter().map(|row| row.version.as_str())))
        .all(db.read())
        .await
        .doing("read the models of DAGs")?;
    let mut models: BTreeMap<(String, String), dag_version::Model> =
        models.into_iter().map(|row| ((row.dag_id.clone(), row.version.clone()), row)).collect();
    let broken: Vec<String> = import_error::Entity::find()
        .select_only()
        .column(import_error::Column::File)
        .filter(import_error::Column::TenantId.eq(scope.tenant().0))
        .into_tuple()
        .all(db.read())
        .await
        .doing("read which files are broken")?;
    let mut with_model = |row: &dag::Model| {
        let version = models.remove(&(row.dag_id.clone(), row.version.clone()));
        let model = match &version {
            Some(version) => rows::model(version).map_err(|why| why.to_string()),
            None => Err(format!("version {} of {} isn't there", row.version, row.dag_id)),
        };
        let source = version.map(|version| version.source).unwrap_or_default();
        let broken = broken.contains(&source);
        Ok(DagWithModel { row: rows::dag(row)?, model, source, quarantine: row.quarantine.clone(), broken })
    };
    let read: Vec<_> = found.iter().map(|row| (row, with_model(row))).collect();
    Ok(super::readable(read, |(row, _)| format!("DAG {}", row.dag_id), |(_, read)| read))
}
