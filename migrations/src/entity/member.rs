//! Members of gangs that have started or ended.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "member")]
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
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) dispatch_n: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) member: i32,
    pub(crate) host: Option<String>,
    pub(crate) started_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) format: i32,
    pub(crate) ending: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
