//! The DAG model, its YAML front end, timetables, validation and diagnostics.
//!
//! Pure: nothing here reads a clock, a network or a database. Start at [`model`] for what a DAG is,
//! at [`time`] for instants and durations, at [`ids`] for names and identities.

pub mod ids;
pub mod model;
pub mod time;
