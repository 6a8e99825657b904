//! Backfills.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "backfill")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: i64,
    pub(crate) dag_id: String,
    pub(crate) format: i32,
    pub(crate) spec: String,
    pub(crate) paused: bool,
    pub(crate) created_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) next_date: Option<i64>,
    pub(crate) made: i32,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
