//! What the operating system knows of this process; nothing where it doesn't say.

use std::fs;

use telemetry::{Gauges, Metric};

pub(super) fn set(gauges: &mut Gauges) {
    let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
    if let Some(fields) = stat() {
        let field = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok());
        // Counted from the state, which follows the name: utime, stime, starttime, rss.
        if let (Some(user), Some(system)) = (field(11), field(12)) {
            gauges.set(Metric::ProcessCpu, &[], (user + system) / ticks);
        }
        if let (Some(since_boot), Some(boot)) = (field(19), boot()) {
            gauges.set(Metric::ProcessStart, &[], boot + since_boot / ticks);
        }
        if let Some(pages) = field(21) {
            gauges.set(Metric::ProcessMemory, &[], pages * rustix::param::page_size() as f64);
        }
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        gauges.set(Metric::ProcessFiles, &[], files.count() as f64);
    }
}

/// The fields of `/proc/self/stat` behind the program's name, which may hold anything.
fn stat() -> Option<Vec<String>> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// When the machine was started, in seconds since 1970.
fn boot() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}
