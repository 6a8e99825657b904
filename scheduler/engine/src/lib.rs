//! The pure scheduling engine and the sans-IO driver around it: time and events in, effects out.
//!
//! No clock, no randomness, no async, no database. [`dispatch`] holds what passes between the engine and executors;
//! [`trigger_rule`] and [`backoff`] decide when a task may start and when it is repeated.

pub mod backoff;
pub mod dispatch;
pub mod trigger_rule;
