//! How the service is. Anybody who passes the gate may know.

pub(crate) mod health;
pub(crate) mod version;

pub use health::{Component, DagProcessorHealth, Health, SchedulerHealth, TriggererHealth};
pub use version::Version;
