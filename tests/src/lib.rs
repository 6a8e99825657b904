//! What crosses crates: end to end, conformance, chaos and load tests. Here is what several test programs share.

pub mod history;
pub mod management;
pub mod proxy;
pub mod random;
