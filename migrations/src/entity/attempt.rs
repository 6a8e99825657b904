//! Tries that are over and have a successor.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempt")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) run_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) task_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) map_index: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) try_number: i32,
    pub(crate) state: String,
    pub(crate) max_tries: i32,
    pub(crate) dispatch_n: i32,
    pub(crate) preempted: i32,
    pub(crate) requeued: i32,
    pub(crate) scheduled_at: Option<i64>,
    pub(crate) queued_at: Option<i64>,
    pub(crate) started_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) wake_at: Option<i64>,
    pub(crate) executor: Option<String>,
    pub(crate) members: i32,
    pub(crate) host: Option<String>,
    pub(crate) pool: String,
    pub(crate) pool_slots: i32,
    pub(crate) weight: i32,
    pub(crate) reason: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) mapped_length: Option<i32>,
    pub(crate) skips: Option<String>,
    pub(crate) marked_by: Option<String>,
    pub(crate) worker_id: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
