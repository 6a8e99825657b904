//! People and service accounts.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) password: Option<String>,
    pub(crate) must_change: bool,
    pub(crate) password_expires_at: Option<i64>,
    pub(crate) disabled: bool,
    pub(crate) created_at: i64,
    pub(crate) created_by: String,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
