//! Workers, from their registration to their end and some time after.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "worker")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) credential_id: Uuid,
    pub(crate) name: String,
    pub(crate) executor: String,
    pub(crate) spec: String,
    pub(crate) labels: String,
    pub(crate) release: String,
    pub(crate) registered_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) lost_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
