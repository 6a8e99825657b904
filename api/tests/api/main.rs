//! The API against a SQLite file, with the real driver as the owner of the shard.
//!
//! [`world`] starts both; the other files have the tests, by resource.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod attacks;
mod console;
mod dags;
mod deployments;
mod door;
mod insight;
mod isolation;
mod lists;
mod matrix;
mod owner;
mod policies;
mod runs;
mod services;
mod sign_in;
mod tasks;
mod wire;
mod world;
