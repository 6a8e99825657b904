//! Immutable snapshots of DAG folders; their bytes are in the object store.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bundle")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) digest: String,
    pub(crate) bytes: i64,
    pub(crate) files: i32,
    pub(crate) created_at: i64,
    pub(crate) created_by: Option<String>,
    pub(crate) activated_at: Option<i64>,
    pub(crate) stored_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
