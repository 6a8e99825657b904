//! How the service is. Anybody who passes the gate may know.

pub(crate) mod health;
pub(crate) mod version;

pub use health::{Component, Health};
pub use version::Version;
