//! The DAG model, its YAML front end, timetables, validation and diagnostics.
//!
//! Pure: nothing here reads a clock, a network or a database. Start at [`model`] for what a DAG is,
//! at [`time`] for instants and durations, at [`timetable`] for when runs are due, at [`ids`] for names and identities.

pub mod ids;
pub mod model;
pub mod run_name;
pub mod time;
pub mod timetable;
