//! Who was first to say that they run a member of a dispatch.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempt_claim")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) attempt_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) n: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) member: i32,
    pub(crate) tenant_id: Uuid,
    pub(crate) run_id: Uuid,
    pub(crate) claimant: String,
    pub(crate) claimed_at: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
