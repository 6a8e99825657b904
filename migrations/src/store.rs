//! What the service and the API read and write, one file per aggregate.
//!
//! Everything takes a [`crate::TenantScope`] and adds its predicate itself. Rows that the engine owns are only read here;
//! whatever is to change them goes through [`inbox`].

pub mod inbox;
