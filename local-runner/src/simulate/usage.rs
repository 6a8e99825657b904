//! How much of something is in use over time: averages and peaks of equal parts of the whole span.

use dags::time::Timestamp;

/// How many parts.
pub(super) const PARTS: usize = 240;

/// The use of one executor or pool.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    from: Timestamp,
    to: Timestamp,
    level: i64,
    since: Timestamp,
    /// Level times microseconds, by part.
    areas: Vec<f64>,
    pub(super) peaks: Vec<i64>,
}

impl Usage {
    pub(super) fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to, level: 0, since: from, areas: vec![0.0; PARTS], peaks: vec![0; PARTS] }
    }

    fn part(&self, at: Timestamp) -> usize {
        let whole = self.to.since(self.from).0.max(1) as f64;
        ((at.since(self.from).0 as f64 / whole * PARTS as f64) as usize).min(PARTS - 1)
    }

    fn start_of(&self, part: usize) -> Timestamp {
        let whole = self.to.since(self.from).0;
        // In two steps, so that centuries don't overflow.
        let (each, rest) = (whole / PARTS as i64, whole % PARTS as i64);
        Timestamp(self.from.0 + each * part as i64 + rest * part as i64 / PARTS as i64)
    }

    /// More, or less, is in use from now on. Only what lasts counts: at one instant the next may begin before the last has ended.
    pub(super) fn add(&mut self, now: Timestamp, change: i64) {
        self.pass(now);
        self.level += change;
    }

    /// Time goes on.
    pub(super) fn pass(&mut self, now: Timestamp) {
        let now = now.min(self.to);
        while self.since < now {
            let part = self.part(self.since);
            let end = if part + 1 < PARTS { self.start_of(part + 1).min(now) } else { now };
            // Rounding must not keep it at one place.
            let end = end.max(Timestamp(self.since.0 + 1));
            self.areas[part] += self.level as f64 * end.since(self.since).0 as f64;
            self.peaks[part] = self.peaks[part].max(self.level);
            self.since = end;
        }
    }

    /// The average of each part.
    pub(super) fn averages(&self) -> Vec<f64> {
        let length = self.to.since(self.from).0.max(1) as f64 / PARTS as f64;
        self.areas.iter().map(|area| area / length).collect()
    }

    /// The average of all.
    pub(super) fn average(&self) -> f64 {
        self.areas.iter().sum::<f64>() / self.to.since(self.from).0.max(1) as f64
    }

    pub(super) fn peak(&self) -> i64 {
        self.peaks.iter().copied().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use dags::time::Span;

    use super::*;

    #[test]
    fn what_is_used_half_of_the_time_is_half_used() {
        let (from, hour) = (Timestamp(7), Span::seconds(3_600));
        let mut usage = Usage::new(from, from.after(hour));
        usage.add(from.after(Span::seconds(900)), 4);
        usage.add(from.after(Span::seconds(2_700)), -4);
        usage.pass(from.after(hour));
        assert!((usage.average() - 2.0).abs() < 1e-6, "{}", usage.average());
        assert_eq!(
            (usage.peak(), usage.peaks[0], usage.peaks[PARTS / 2], usage.peaks[PARTS - 1]),
            (4, 0, 4, 0)
        );
        let averages = usage.averages();
        assert!(averages[0].abs() < 1e-6 && (averages[PARTS / 2] - 4.0).abs() < 1e-6);
    }
}
