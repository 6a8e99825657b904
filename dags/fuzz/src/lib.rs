//! Fuzz targets for everything that authors write: YAML, Rhai, cron expressions and templates.
//!
//! A [`Target`] takes any bytes and must neither panic nor hang nor eat memory; [`targets`] says what else must hold.
//! Inputs come from three places: files ([`seeds`], regressions), seeded mutations of them ([`mutate`]) and
//! [`hostile`] ones made to order. All run in a child process (`updraft-fuzz`) under the limits of [`confine`], so a
//! limit that is met fails a test instead of the machine.
//!
//! The gate runs all of it for a few seconds (`tests/targets.rs`); `cargo xtask fuzz` goes on for as long as it is told,
//! guided by coverage.

pub mod confine;
pub mod hostile;
pub mod mutate;
pub mod seeds;
pub mod target;
pub mod targets;
pub mod words;

pub use target::Target;
