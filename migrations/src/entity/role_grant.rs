//! Which account or group has which role.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "role_grant")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: Uuid,
    pub(crate) subject_kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) role_id: Uuid,
    pub(crate) created_at: i64,
    pub(crate) created_by: String,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
