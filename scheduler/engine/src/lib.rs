//! The pure scheduling engine and the sans-IO driver around it: time and events in, effects out.
//!
//! No clock, no randomness, no async, no database. [`dispatch`] holds what passes between the engine and executors.

pub mod dispatch;
