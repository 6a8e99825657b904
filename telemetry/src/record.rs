//! Handles to count with, and the recorder behind them.

use std::collections::BTreeSet;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder as _};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::metric::{Kind, Metric};

const METADATA: Metadata<'static> = Metadata::new("updraft", metrics::Level::INFO, None);

/// What was counted in this process.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> String {
        self.0.render()
    }

    /// Sorts what was measured into buckets. Without it, and without [`Recorder::text`], memory grows.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// From now on what is counted in this process is kept. Once per process.
pub fn install() -> Result<Recorder, String> {
    let mut builder = PrometheusBuilder::new();
    for metric in Metric::ALL {
        if let Kind::Histogram(bounds) = metric.kind() {
            let matcher = Matcher::Full(metric.name().to_owned());
            builder = builder
                .set_buckets_for_metric(matcher, bounds)
                .map_err(|error: BuildError| error.to_string())?;
        }
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    for metric in Metric::ALL {
        let (name, help) = (KeyName::from_const_str(metric.name()), metric.row().help.trim().into());
        match metric.kind() {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
        }
    }
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    for outcome in ["sent", "failed", "dropped"] {
        // Shown also where no spans are made, so that their absence means that.
        counter(Metric::TraceSpans, &[("outcome", outcome)]).increment(0);
    }
    Ok(Recorder(handle))
}

fn key(metric: Metric, labels: &[(&'static str, &str)]) -> Key {
    debug_assert_eq!(
        labels.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        metric.row().labels.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "the labels of {metric:?} are those of its table"
    );
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(metric.name(), labels)
}

/// A counter with the labels of its table, in their order.
pub fn counter(metric: Metric, labels: &[(&'static str, &str)]) -> Counter {
    metrics::with_recorder(|recorder| recorder.register_counter(&key(metric, labels), &METADATA))
}

/// A gauge with the labels of its table, in their order.
pub fn gauge(metric: Metric, labels: &[(&'static str, &str)]) -> Gauge {
    metrics::with_recorder(|recorder| recorder.register_gauge(&key(metric, labels), &METADATA))
}

/// A histogram with the labels of its table, in their order.
pub fn histogram(metric: Metric, labels: &[(&'static str, &str)]) -> Histogram {
    metrics::with_recorder(|recorder| recorder.register_histogram(&key(metric, labels), &METADATA))
}

/// Gauges whose labels come and go: what isn't set any more becomes 0.
#[derive(Debug, Default)]
pub struct Gauges {
    set: BTreeSet<(Metric, Vec<(&'static str, String)>)>,
    now: BTreeSet<(Metric, Vec<(&'static str, String)>)>,
}

impl Gauges {
    /// Sets one.
    pub fn set(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        gauge(metric, labels).set(value);
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.now.insert((metric, labels));
    }

    /// All are set: those that were set before and aren't now are 0.
    pub fn finish(&mut self) {
        for (metric, labels) in self.set.difference(&self.now) {
            let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            gauge(*metric, &labels).set(0.0);
        }
        self.set.append(&mut self.now);
    }
}
