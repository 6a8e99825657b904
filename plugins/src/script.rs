//! The only client of `updraft-script`: Rhai DAG files, Rhai tasks, and the expressions and templates that the service
//! itself must evaluate.
//!
//! A [`ScriptPool`] keeps warm children, each for one tenant during its whole life. A child is confined by the kernel
//! and told how much it may use; one that runs away or crashes is killed and replaced, and the error names the limit.
//! What a child answers is checked as if it came from a stranger. The wire is described in
//! `dags/script-host/PROTOCOL.md`; [`wire`] implements our side of it.

mod child;
mod dag_file;
mod death;
mod error;
mod locate;
mod modules;
mod pool;
mod wire;

pub use error::{Error, Fault};
pub use locate::{PROGRAM, locate};
pub use modules::Modules;
pub use pool::{Options, Policy, ScriptPool};
pub use wire::{Field, InForce, Landlock, Language, Limits};

/// What a DAG file gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled<T> {
    /// One document tree per DAG.
    pub trees: Vec<T>,
    /// What the script printed.
    pub printed: Vec<String>,
}

/// What a script gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The value of its last expression.
    pub value: serde_json::Value,
    /// What it printed.
    pub printed: Vec<String>,
}
