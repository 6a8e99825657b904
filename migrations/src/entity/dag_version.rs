//! The models of DAGs, by content.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dag_version")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) dag_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) version: String,
    pub(crate) format: i32,
    pub(crate) model: String,
    pub(crate) created_at: i64,
    pub(crate) bundle: String,
    pub(crate) source: String,
    pub(crate) stored_at: Option<i64>,
    pub(crate) number: Option<i32>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
