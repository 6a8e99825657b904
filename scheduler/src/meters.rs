//! What a shell counts and measures: per batch, never per row, except for how long each start took.

use dags::time::{Span, Timestamp};
use engine::{
    driver::{Counts, Driver},
    figures::Repair,
    journal::Commit,
    rows::{Batch, TaskRow},
    state::TaskState,
};
use executor::fleet;
use telemetry::{Counter, Histogram, Metric, counter, histogram};

/// The handles of one shell, with what was told already.
pub(crate) struct Meters {
    reports: Counter,
    stale: Counter,
    repeats: Counter,
    transitions: Counter,
    running: Histogram,
    repairs: [Counter; Repair::ALL.len()],
    said: (Counts, u64, [u64; Repair::ALL.len()]),
    fleet: FleetMeters,
}

struct FleetMeters {
    stored: Counter,
    unroutable: Counter,
    unproved: Counter,
    unreadable: Counter,
    said: fleet::Counts,
}

fn dropped(reason: &str) -> Counter {
    counter(Metric::ReportsDropped, &[("reason", reason)])
}

fn delay(phase: &str) -> Histogram {
    histogram(Metric::SchedulingDelay, &[("phase", phase)])
}

fn seconds(span: Span) -> f64 {
    span.0.max(0) as f64 / 1e6
}

impl Meters {
    pub(crate) fn new() -> Self {
        let message = |outcome| counter(Metric::BrokerMessages, &[("outcome", outcome)]);
        Self {
            reports: counter(Metric::Reports, &[]),
            stale: dropped("stale"),
            repeats: dropped("repeat"),
            transitions: counter(Metric::Transitions, &[]),
            running: delay("running"),
            repairs: Repair::ALL.map(|what| counter(Metric::Repairs, &[("what", what.as_str())])),
            said: Default::default(),
            fleet: FleetMeters {
                stored: message("stored"),
                unroutable: message("unroutable"),
                unproved: dropped("unproved"),
                unreadable: dropped("unreadable"),
                said: fleet::Counts::default(),
            },
        }
    }

    /// Tells what the driver has counted since the last call.
    pub(crate) fn tell(&mut self, driver: &mut Driver) {
        for after in driver.take_starts() {
            self.running.record(seconds(after));
        }
        let now = (driver.counts(), driver.engine().transitions(), driver.engine().repairs());
        if now == self.said {
            return;
        }
        let (before, transitions, repairs) = std::mem::replace(&mut self.said, now);
        self.reports.increment(now.0.reports - before.reports);
        self.stale.increment(now.0.stale - before.stale);
        self.repeats.increment(now.0.repeats - before.repeats);
        self.transitions.increment(now.1 - transitions);
        for ((counter, now), before) in self.repairs.iter().zip(now.2).zip(repairs) {
            counter.increment(now - before);
        }
    }

    /// Tells what the fleet has counted since the last call.
    pub(crate) fn tell_fleet(&mut self, now: fleet::Counts) {
        let FleetMeters { stored, unroutable, unproved, unreadable, said } = &mut self.fleet;
        let before = std::mem::replace(said, now);
        stored.increment(now.published - before.published);
        unroutable.increment(now.unroutable - before.unroutable);
        unproved.increment(now.unproved - before.unproved);
        unreadable.increment(now.dead - before.dead);
    }
}

/// The handles of whoever commits.
pub(crate) struct CommitMeters {
    time: Histogram,
    rows: Histogram,
    created: Histogram,
    queued: Histogram,
}

impl CommitMeters {
    pub(crate) fn new() -> Self {
        Self {
            time: histogram(Metric::CommitTime, &[]),
            rows: histogram(Metric::CommitRows, &[]),
            created: delay("created"),
            queued: delay("queued"),
        }
    }

    /// A commit ended like this, at `now`, after `took`.
    pub(crate) fn committed(&self, batch: &Batch, outcome: &Commit, took: Span, now: Timestamp) {
        let said = match outcome {
            Commit::Done => "done",
            Commit::Failed(_) => "failed",
            Commit::Unknown(_) => "unknown",
            Commit::Fenced => "fenced",
            Commit::Conflict(_) => "conflict",
        };
        counter(Metric::Commits, &[("outcome", said)]).increment(1);
        self.time.record(seconds(took));
        if *outcome != Commit::Done {
            return;
        }
        self.rows.record(batch.rows() as f64);
        for run in batch.new_runs.iter().filter(|run| run.triggered_by.is_none() && run.backfill.is_none()) {
            self.created.record(seconds(now.since(run.run_after)));
        }
        let changed =
            batch.tasks.iter().filter(|changed| !admitted(changed.before)).map(|changed| &changed.row);
        for row in changed.chain(&batch.new_tasks) {
            if let Some(waited) = waited(row, batch.now) {
                self.queued.record(seconds(waited));
            }
        }
    }
}

fn admitted(state: TaskState) -> bool {
    matches!(state, TaskState::Queued | TaskState::Running | TaskState::Restarting)
}

/// How long an instance that was admitted in a batch had been ready.
fn waited(row: &TaskRow, now: Timestamp) -> Option<Span> {
    let queued = row.queued_at.filter(|queued| admitted(row.state) && *queued <= now)?;
    Some(queued.since(row.scheduled_at?))
}

/// The handle of those who hand over: `handed_over` is for dispatches whose batch began at the first instant.
#[derive(Clone)]
pub(crate) struct HandOverMeter(Histogram);

impl HandOverMeter {
    pub(crate) fn new() -> Self {
        Self(delay("handed_over"))
    }

    pub(crate) fn handed_over(&self, admitted: Timestamp, now: Timestamp) {
        self.0.record(seconds(now.since(admitted)));
    }
}
