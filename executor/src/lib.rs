//! The Executor trait, its implementations, and the attempt supervisor.
//!
//! Start at [`Executor`] for what every executor can do, at [`supervise`] for how attempts run on one machine, at
//! [`attempt`] for the process of one attempt, at [`local`] for the executor of this machine.

pub mod attempt;
mod clock;
#[cfg(feature = "test-support")]
pub mod conformance;
pub mod contract;
mod folder;
pub mod limits;
pub mod local;
pub mod log;
pub mod mask;
pub mod noop;
mod result;
pub mod supervise;
mod wire;

pub use contract::{Capacity, Error, Executor, Executors, Work};
