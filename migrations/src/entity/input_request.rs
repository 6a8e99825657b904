//! Questions to people.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "input_request")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) attempt_id: Uuid,
    pub(crate) run_id: Uuid,
    pub(crate) task_id: String,
    pub(crate) map_index: i32,
    pub(crate) try_number: i32,
    pub(crate) format: i32,
    pub(crate) input: String,
    pub(crate) created_at: i64,
    pub(crate) respond_by: Option<i64>,
    pub(crate) response: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
