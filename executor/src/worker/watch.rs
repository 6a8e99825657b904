//! How a worker is, for whoever watches its process.

use std::sync::{Arc, Mutex, PoisonError};

use dags::ids::WorkerId;

/// A worker at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Its id, once it is registered.
    pub worker: Option<WorkerId>,
    /// Why it isn't registered yet, if it was tried.
    pub unregistered: Option<String>,
    /// What it may run at once.
    pub slots: u32,
    /// Whether it has its connection to the broker; if not, why.
    pub broker: Result<bool, String>,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// Dispatches that it was given and that haven't started.
    pub taken: usize,
    /// That run.
    pub started: usize,
    /// That have ended, which isn't confirmed.
    pub ended: usize,
}

impl Default for Glance {
    fn default() -> Self {
        let broker = Ok(false);
        Self {
            worker: None,
            unregistered: None,
            slots: 0,
            broker,
            draining: false,
            taken: 0,
            started: 0,
            ended: 0,
        }
    }
}

/// Where a worker says how it is.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<Glance>>);

impl Watch {
    /// How it is.
    pub fn glance(&self) -> Glance {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn say(&self, change: impl FnOnce(&mut Glance)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
