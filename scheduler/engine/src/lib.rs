//! The pure scheduling engine and the sans-IO driver around it: time and events in, effects out.
//!
//! No clock, no randomness, no async, no database. [`dispatch`] holds what passes between the engine and executors,
//! [`command`] what enters by the inbox, [`rows`] what is stored, [`journal`] who stores it.

pub mod command;
pub mod dispatch;
pub mod journal;
pub mod rows;
pub mod state;
