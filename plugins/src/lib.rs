//! Operators, sensors and notifiers, built in and added by users; the only client of `updraft-script`.
//!
//! Start at [`operator`] for how an attempt becomes a program to run or an answer, at [`context`] for what it is given.

mod builtin;
pub mod context;
pub mod flow;
mod log;
pub mod mapping;
pub mod operator;
pub mod outbound;
pub mod policy;
mod schema;
pub mod script;
pub mod template;

use log::log;
