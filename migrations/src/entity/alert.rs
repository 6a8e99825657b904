//! Alerts.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) route: String,
    pub(crate) what: String,
    pub(crate) dag_id: String,
    pub(crate) run_id: Uuid,
    pub(crate) run_name: String,
    pub(crate) task_id: Option<String>,
    pub(crate) map_index: Option<i32>,
    pub(crate) try_number: Option<i32>,
    pub(crate) reason: Option<String>,
    pub(crate) at: i64,
    pub(crate) chain_depth: i32,
    pub(crate) state: String,
    pub(crate) tries: i32,
    pub(crate) next_at: i64,
    pub(crate) error: Option<String>,
    pub(crate) ended_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
