//! The authors' loop: validate, show, test and schedule DAG files without a service.
//!
//! Start at [`load`] for how files are found and compiled, at [`test_run`] for one run in process.

mod error;

pub mod connection;
pub mod load;
pub mod schedule;
pub mod show;
pub mod terminal;
pub mod test_run;
pub mod validate;

pub use error::Error;
