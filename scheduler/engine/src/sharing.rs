//! The resource pool: who is admitted next, where, and who must give way.
//!
//! Tenants are the leaves of a tree of cohorts; quotas are written per flavor and resource. What is admitted is charged in a
//! ledger until the executor has confirmed its end. [`spec`] holds what is described from outside, [`share`] the exact
//! fractions by which tenants are compared, [`decision`] what comes out and why something waits.
//!
//! Everything is an integer or an exact fraction, every tie is broken: no float, clock, hash order or randomness takes part.

mod check;
pub mod decision;
mod events;
pub mod facts;
pub mod figures;
mod gate;
mod hosts;
mod order;
mod park;
mod pool;
mod preempt;
mod reserve;
mod settle;
mod shape;
pub mod share;
pub mod spec;
mod tree;
mod why;

pub use decision::{Blocker, Decision, How, Part, Place, Rule};
pub use facts::Facts;
pub use gate::{Gate, Open};
pub use pool::{Invalid, Pool};
pub use share::{Share, Weight};
pub use spec::{
    Age, Cap, CapKind, Cohort, Flavor, Group, Labels, Name, Quota, Quotas, Tenant, Vector, Workload,
};
pub use why::{HOLDERS_MAX, Standing};
