//! The pure scheduling engine and the sans-IO driver around it: time and events in, effects out.
//!
//! No clock, no randomness, no async, no database. [`dispatch`] holds what passes between the engine and executors,
//! [`command`] what enters by the inbox, [`rows`] what is stored, [`journal`] who stores it.

mod apply;
mod assets;
mod attempt;
mod backfill;
pub mod backoff;
pub mod blame;
mod chain;
mod check;
pub mod command;
mod cut;
pub mod dispatch;
pub mod driver;
mod ending;
mod engine;
mod evaluate;
pub mod execution;
mod expand;
pub mod explain;
pub mod figures;
pub mod fleet;
mod forget;
pub mod format;
mod gang;
mod holdings;
mod input;
pub mod journal;
pub mod map;
pub mod memory;
mod notify;
pub mod overview;
mod past;
mod plan;
mod quarantine;
mod question;
mod queue;
pub mod quota;
mod repair;
mod request;
mod restore;
pub mod rows;
mod run;
mod runs;
mod schedule;
mod select;
pub mod sharing;
pub mod state;
pub mod transition;
mod trigger;
pub mod trigger_rule;
mod watch;
mod work;

pub use chain::{CHAIN_MAX, RUNS_PER_MINUTE};
pub use check::Usage;
pub use engine::{Config, Effects, Engine, Fate, Fault};
pub use plan::Plan;
pub use question::{Answer, Ask, AskPeople, IfExists, MakeRun, Question, Watch};
