//! The DAG model, its YAML front end, timetables, validation and diagnostics.
//!
//! Pure: nothing here reads a clock, a network or a database. Start at [`model`] for what a DAG is, at [`compile`] for
//! how one is made from text, at [`time`] for instants and durations, at [`timetable`] for when runs are due, at
//! [`ids`] for names and identities.

pub mod amount;
pub mod bundle;
pub mod canonical;
pub mod catalog;
pub mod compile;
pub mod conf;
pub mod dag_test;
pub mod diagnostic;
pub mod glob;
pub mod graph;
pub mod ids;
pub mod installation;
pub mod json_schema;
pub mod model;
pub mod run_name;
pub mod schema;
pub mod suggest;
pub mod template;
pub mod time;
pub mod timetable;
pub mod tree;
pub mod yaml;
