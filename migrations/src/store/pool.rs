//! Pools as lists show them.

use dags::ids::PoolName;
use engine::{rows::PoolRow, state::TaskState};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, Statement,
};

use crate::{
    db::Db,
    entity::pool,
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::readable,
};

/// All pools by name.
pub async fn list(db: &Db, scope: TenantScope) -> Result<Vec<PoolRow>, Error> {
    let found = pool::Entity::find()
        .filter(pool::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(pool::Column::Name)
        .all(db.read())
        .await
        .doing("list pools")?;
    Ok(readable(found, |row| format!("pool {}", row.name), |row| rows::pool(&row)))
}

/// One pool.
pub async fn get(db: &Db, scope: TenantScope, name: &PoolName) -> Result<Option<PoolRow>, Error> {
    let key = (scope.tenant().0, name.to_string());
    let found = pool::Entity::find_by_id(key).one(db.read()).await.doing("read a pool")?;
    found.as_ref().map(rows::pool).transpose()
}

/// The slots that task instances of unfinished runs want or hold, by pool and state.
pub async fn usage(db: &Db, scope: TenantScope) -> Result<Vec<(PoolName, TaskState, u64)>, Error> {
    let doing = "count the slots of pools";
    let sql = db.pick(
        "SELECT t.pool, t.state, SUM(t.pool_slots) AS slots
        FROM run AS r JOIN task_instance AS t ON t.tenant_id = r.tenant_id AND t.run_id = r.run_id
        WHERE r.tenant_id = ?1 AND NOT r.finished
          AND t.state IN ('scheduled', 'queued', 'running', 'restarting', 'deferred')
        GROUP BY t.pool, t.state ORDER BY t.pool, t.state",
        "SELECT t.pool, t.state, SUM(t.pool_slots) AS slots
        FROM run AS r JOIN task_instance AS t ON t.tenant_id = r.tenant_id AND t.run_id = r.run_id
        WHERE r.tenant_id = $1 AND NOT r.finished
          AND t.state IN ('scheduled', 'queued', 'running', 'restarting', 'deferred')
        GROUP BY t.pool, t.state ORDER BY t.pool, t.state",
    );
    let backend = db.read().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [scope.tenant().0.into()]);
    let found = db.read().query_all_raw(statement).await.doing(doing)?;
    let mut counts: Vec<(String, String, i64)> = Vec::with_capacity(found.len());
    for row in &found {
        let get = |name: &str| row.try_get::<String>("", name).doing(doing);
        counts.push((get("pool")?, get("state")?, row.try_get("", "slots").doing(doing)?));
    }
    let read = |(pool, state, slots): (String, String, i64)| {
        let known = TaskState::parse(&state);
        let known = known.ok_or_else(|| Error::corrupt("task_instance", format!("state {state:?}")))?;
        Ok((rows::name("task_instance", &pool)?, known, slots as u64))
    };
    Ok(readable(counts, |row| format!("pool {} of task instances that are {}", row.0, row.1), read))
}
