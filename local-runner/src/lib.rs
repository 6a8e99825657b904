//! The authors' loop: validate, show, test and schedule DAG files without a service, and look at a running one.
//!
//! Start at [`load`] for how files are found and compiled, at [`test_run`] for one run in process, at [`dag_test`]
//! for files of tests, at [`simulate`] for months in seconds, at [`remote`] for the commands that talk to a service.

mod clockwork;
mod error;

pub mod connection;
pub mod dag_test;
pub mod dev;
pub mod init;
pub mod load;
pub mod missing;
pub mod remote;
pub mod schedule;
pub mod show;
pub mod simulate;
pub mod terminal;
pub mod test_run;
pub mod validate;

pub use error::Error;
