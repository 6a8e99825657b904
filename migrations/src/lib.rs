//! The database: steps of its schema, entities and every query, for PostgreSQL and SQLite.
//!
//! Start at [`Db::connect`] and [`migrate`]; [`journal`] is where the engine's batches go, [`store`] what the service
//! and the API read and write, [`seal`] how secrets are kept, [`wake`] how one waits for news. Callers see domain types
//! only, never an entity; whatever reads tenant data takes a [`TenantScope`] or a [`ShardScope`].

mod columns;
mod db;
mod entity;
mod error;
pub mod journal;
pub mod migrate;
pub mod policy;
mod rows;
mod scope;
pub mod seal;
pub mod store;
pub mod wake;

pub use db::{Db, Role};
pub use error::Error;
pub use scope::{ShardScope, TenantScope};
