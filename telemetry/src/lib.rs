//! What a service counts, measures and traces.
//!
//! Every metric is a variant of [`Metric`], whose table holds its name, its labels and what it means; `docs/metrics.md` is made
//! from it. Whoever counts asks for a handle once ([`counter`], [`gauge`], [`histogram`]) and keeps it where it counts often.
//! Where nobody called [`install`], as in tests and in commands, handles count into nothing. Spans of runs are in [`trace`].

mod metric;
mod page;
mod record;
pub mod trace;

pub use metric::{Kind, Metric};
pub use metrics::{Counter, Gauge, Histogram};
pub use page::markdown;
pub use record::{Gauges, Recorder, counter, gauge, histogram, install};
