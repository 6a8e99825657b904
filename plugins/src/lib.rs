//! Operators, sensors and notifiers, built in and added by users; the only client of `updraft-script`.

pub mod context;
pub mod script;
