//! The tables as sea-orm sees them. Nothing here leaves the crate.

pub(crate) mod alert;
pub(crate) mod asset_event;
pub(crate) mod attempt;
pub(crate) mod attempt_claim;
pub(crate) mod audit;
pub(crate) mod backfill;
pub(crate) mod bundle;
pub(crate) mod connection;
pub(crate) mod dag;
pub(crate) mod dag_version;
pub(crate) mod event;
pub(crate) mod inbox;
pub(crate) mod input_request;
pub(crate) mod member;
pub(crate) mod pending_asset;
pub(crate) mod pool;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod task_instance;
pub(crate) mod tenant;
pub(crate) mod tenant_key;
pub(crate) mod variable;
