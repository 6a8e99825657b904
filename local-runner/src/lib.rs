//! The authors' loop: validate, show, test and schedule DAG files without a service.

pub mod schedule;
