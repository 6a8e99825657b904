//! The script host: what `updraft-script` does, as a library so that tests and fuzzers reach it without a process.
//!
//! A [`Host`] answers requests: it compiles Rhai DAG files to document trees, runs Rhai tasks, evaluates expressions and
//! renders templates. It knows the operators and keys of the DAG language only from the handshake and depends on no
//! crate of the service. It opens no file and no socket: modules are asked for over the same pipe.
//!
//! `PROTOCOL.md` describes the wire; [`frame`] and [`protocol`] implement it, `sandbox` is what the process does to
//! itself before it reads the first script.

mod compile;
mod convert;
mod dag_api;
mod draft;
mod engine;
pub mod fault;
pub mod frame;
mod host;
mod language;
mod modules;
pub mod node;
pub mod protocol;
mod run;
pub mod sandbox;
mod source;

pub use host::{Fetch, Host};
