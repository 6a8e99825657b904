//! The Executor trait, its implementations, and the attempt supervisor.
//!
//! Start at [`Executor`] for what every executor can do, at [`supervise`] for how attempts run on one machine, at
//! [`attempt`] for the process of one attempt, at [`local`] for the executor of this machine, at [`fleet`] for the
//! executor of many machines and at [`worker`] for its other end, and at [`kubernetes`] for the executor of a cluster.

pub mod archive;
pub mod attempt;
pub mod broker;
mod clock;
#[cfg(feature = "test-support")]
pub mod conformance;
pub mod contract;
pub mod fleet;
mod folder;
pub mod kubernetes;
pub mod limits;
pub mod local;
pub mod log;
pub mod mask;
pub mod noop;
mod result;
mod seldom;
pub mod supervise;
mod wire;
pub mod worker;

pub use result::touch;

pub use contract::{Capacity, Error, Executor, Work};
