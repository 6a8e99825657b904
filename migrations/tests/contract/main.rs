//! The contract of the database, the same for SQLite and PostgreSQL.
//!
//! Each test has a database of its own: a file, or a schema on the server that `UPDRAFT_TEST_POSTGRES_URL` names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod access;
mod alerts;
mod batches;
mod doctor;
mod fixture;
mod inputs;
mod journal;
mod lease;
mod logs;
mod model;
mod overview;
mod postgres;
mod quotas;
mod random;
mod retention;
mod schema;
mod store;
mod support;
mod unreadable;
mod upgrade;
