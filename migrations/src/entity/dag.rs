//! What the engine keeps about a DAG.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dag")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) dag_id: String,
    pub(crate) version: String,
    pub(crate) bundle: String,
    pub(crate) paused: bool,
    pub(crate) stale: bool,
    pub(crate) cursor_run_after: Option<i64>,
    pub(crate) cursor_logical_date: Option<i64>,
    pub(crate) cursor_start: Option<i64>,
    pub(crate) cursor_end: Option<i64>,
    pub(crate) next_run_after: Option<i64>,
    pub(crate) next_logical_date: Option<i64>,
    pub(crate) next_start: Option<i64>,
    pub(crate) next_end: Option<i64>,
    pub(crate) reserved: Option<String>,
    pub(crate) listening_since: Option<i64>,
    pub(crate) failed_in_row: i32,
    pub(crate) quarantine: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
