//! The shell around the engine's driver: leases, inbox, timers, bundles, executors, questions.
//!
//! Start at [`shell`] for the loop that does what the driver says, at [`facts`] for what it must look up, at [`bundle`] for
//! how a folder of DAG files becomes what the engine runs.

pub mod attempts;
pub mod bundle;
pub mod clock;
pub mod compile;
pub mod conflicts;
pub mod contain;
pub mod context;
pub mod delivery;
pub mod deploy;
pub mod desk;
mod errands;
pub mod executors;
pub mod facts;
pub mod fleet;
mod hand_over;
pub mod hints;
mod keeper;
pub mod lease;
pub mod look;
mod meters;
pub mod objects;
pub mod patience;
pub mod retention;
mod say;
pub mod shell;
mod traces;
mod wait;
pub mod watch;
