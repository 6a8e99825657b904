//! Operators, sensors and notifiers, built in and added by users; the only client of `updraft-script`.
//!
//! Start at [`catalog()`] for what a task can do, at [`operator`] for how an attempt becomes a program to run or an answer,
//! at [`context`] for what it is given and at [`needs`] for how that is found.

mod builtin;
mod catalog;
mod clock;
pub mod context;
pub mod flow;
pub mod human;
mod log;
pub mod mapping;
pub mod needs;
pub mod notify;
pub mod operator;
pub mod outbound;
pub mod policy;
pub mod reference;
mod schema;
pub mod script;
mod smtp;
pub mod template;
pub mod token;
pub mod user;

pub use catalog::{catalog, catalog_with};
use log::log;
