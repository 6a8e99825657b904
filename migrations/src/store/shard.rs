//! Whether somebody owns a tenant's shard, for people who ask how the service is.

use dags::time::Timestamp;
use sea_orm::{ConnectionTrait as _, Statement};

use crate::{
    db::Db,
    error::{Doing as _, Error},
    scope::TenantScope,
};

/// Who takes a tenant's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// Whether an owner holds a lease that isn't over, by the database's clock.
    pub owned: bool,
    /// The last owner's name; none if there never was one or it gave the shard back.
    pub owner: Option<String>,
    /// The number of the last committed batch.
    pub batch: u64,
    /// When the present or last lease ends or ended.
    pub expires_at: Timestamp,
}

/// Who owns the shard of the tenant.
pub async fn ownership(db: &Db, scope: TenantScope) -> Result<Ownership, Error> {
    let doing = "read who owns the tenant's shard";
    let sql = db.pick(
        "SELECT s.owner, s.batch, s.expires_at FROM tenant AS t JOIN shard AS s ON s.id = t.shard_id WHERE t.id = ?1",
        "SELECT s.owner, s.batch, s.expires_at FROM tenant AS t JOIN shard AS s ON s.id = t.shard_id WHERE t.id = $1",
    );
    let backend = db.read().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [scope.tenant().0.into()]);
    let row = db.read().query_one_raw(statement).await.doing(doing)?;
    let row =
        row.ok_or_else(|| Error::corrupt("tenant", format!("there is no tenant {}", scope.tenant())))?;
    let owner: Option<String> = row.try_get("", "owner").doing(doing)?;
    let batch: i64 = row.try_get("", "batch").doing(doing)?;
    let expires_at = Timestamp(row.try_get("", "expires_at").doing(doing)?);
    let owned = owner.is_some() && expires_at > db.now().await?;
    Ok(Ownership { owned, owner, batch: batch as u64, expires_at })
}
