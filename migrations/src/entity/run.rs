//! Runs.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "run")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) run_id: Uuid,
    pub(crate) dag_id: String,
    pub(crate) run_name: String,
    pub(crate) run_type: String,
    pub(crate) version: String,
    pub(crate) bundle: String,
    pub(crate) state: String,
    pub(crate) finished: bool,
    pub(crate) logical_date: Option<i64>,
    pub(crate) interval_start: Option<i64>,
    pub(crate) interval_end: Option<i64>,
    pub(crate) run_after: i64,
    pub(crate) created_at: i64,
    pub(crate) queued_at: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) conf: String,
    pub(crate) reason: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) clear_number: i32,
    pub(crate) created_tasks: i32,
    pub(crate) backfill_id: Option<i64>,
    pub(crate) backfill_place: Option<i32>,
    pub(crate) triggered_by: Option<String>,
    pub(crate) chain_depth: i32,
    pub(crate) assets_after: Option<i64>,
    pub(crate) assets_until: Option<i64>,
    pub(crate) quarantine: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
