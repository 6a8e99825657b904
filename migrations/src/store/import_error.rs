//! What is wrong with files of DAGs, one row for each file that can't be used as it is now.

use std::collections::BTreeSet;

use dags::{ids::DagId, time::Timestamp};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    sea_query::OnConflict,
};

use crate::{
    columns::without_nul,
    db::Db,
    entity::import_error,
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::readable,
};

/// A file that can't be used as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    /// Its path in the folder of DAGs.
    pub file: String,
    /// Since when it has been broken in this way.
    pub since: Timestamp,
    /// The DAGs that it had when it was last in order, and still has: their new runs use that version.
    pub dags: BTreeSet<DagId>,
    /// Everything that is wrong, with the lines, as people read it.
    pub report: String,
}

/// The broken files, by name.
pub async fn list(db: &Db, scope: TenantScope) -> Result<Vec<ImportError>, Error> {
    let found = import_error::Entity::find()
        .filter(import_error::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(import_error::Column::File)
        .all(db.read())
        .await
        .doing("list the files that can't be used")?;
    let read = |row: import_error::Model| {
        Ok(ImportError {
            dags: rows::json("import_error", &row.dags)?,
            file: row.file,
            since: Timestamp(row.since),
            report: row.report,
        })
    };
    Ok(readable(found, |row| format!("what is wrong with {}", row.file), read))
}

/// From now on these are the broken files, and no others. One that is broken as before keeps its time.
pub async fn replace(db: &Db, scope: TenantScope, now: &[ImportError]) -> Result<(), Error> {
    let doing = "store what is wrong with files";
    let tenant = scope.tenant().0;
    let tx = db.begin().await.doing(doing)?;
    let mut gone = import_error::Entity::delete_many().filter(import_error::Column::TenantId.eq(tenant));
    if !now.is_empty() {
        gone = gone.filter(import_error::Column::File.is_not_in(now.iter().map(|error| error.file.as_str())));
    }
    gone.exec(&tx).await.doing(doing)?;
    for error in now {
        let report = without_nul(&error.report).into_owned();
        let known =
            import_error::Entity::find_by_id((tenant, error.file.clone())).one(&tx).await.doing(doing)?;
        let since = known.filter(|known| known.report == report).map_or(error.since.0, |known| known.since);
        let row = import_error::ActiveModel {
            tenant_id: Set(tenant),
            file: Set(error.file.clone()),
            since: Set(since),
            dags: Set(rows::to_json(&error.dags)),
            report: Set(report),
        };
        let key = [import_error::Column::TenantId, import_error::Column::File];
        let changed = [import_error::Column::Since, import_error::Column::Dags, import_error::Column::Report];
        import_error::Entity::insert(row)
            .on_conflict(OnConflict::columns(key).update_columns(changed).to_owned())
            .exec_without_returning(&tx)
            .await
            .doing(doing)?;
    }
    tx.commit().await.doing(doing)
}
