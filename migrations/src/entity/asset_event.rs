//! Events of assets.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "asset_event")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) shard_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) batch: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) n: i32,
    pub(crate) tenant_id: Uuid,
    pub(crate) asset: String,
    pub(crate) at: i64,
    pub(crate) source_run: Option<Uuid>,
    pub(crate) source_task: Option<String>,
    pub(crate) source_map_index: Option<i32>,
    pub(crate) extra: String,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
