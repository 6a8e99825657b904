//! A run as lines, one for whatever happens.

use std::collections::BTreeMap;

use dags::ids::RunName;
use engine::state::TaskState;

use super::run::{Instance, Run};
use crate::{
    terminal::{Tone, count, duration, paint},
    test_run::progress::shown,
};

/// What was said of the present run.
#[derive(Debug, Default)]
pub struct Lines {
    run: Option<RunName>,
    told: BTreeMap<String, (TaskState, u32)>,
    over: bool,
}

impl Lines {
    /// What is new.
    pub fn news(&mut self, run: &Run, colour: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if self.run.as_ref() != Some(&run.name) {
            *self = Self { run: Some(run.name.clone()), ..Self::default() };
            lines.push(paint(&format!("{} {}", run.dag, run.name), Tone::Strong, colour));
        }
        let width =
            run.instances.iter().map(|instance| instance.label.chars().count()).max().unwrap_or(0).min(40);
        for instance in &run.instances {
            let now = (instance.row.state, instance.row.try_number);
            let before = self.told.insert(instance.label.clone(), now);
            if before != Some(now) && shown(now.0) {
                lines.push(line(run, instance, width, colour));
            }
        }
        let over = run.state.is_finished();
        if over && !self.over {
            let state = paint(run.state.as_str(), Tone::of_run(run.state), colour);
            let unchanged = match run.unchanged() {
                0 => String::new(),
                n => format!(", {} unchanged", count(n, "task")),
            };
            let reason = run.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let length = duration(run.length(run.began));
            lines.push(format!("{} {} {state} in {length}{unchanged}{reason}", run.dag, run.name));
        }
        self.over = over;
        lines
    }
}

fn line(run: &Run, instance: &Instance, width: usize, colour: bool) -> String {
    let row = &instance.row;
    let at =
        row.ended_at.or(row.started_at).map(|at| duration(at.since(run.began).to_std())).unwrap_or_default();
    let state = paint(&format!("{:<15}", row.state.as_str()), Tone::of_task(row.state), colour);
    format!("{at:>8}  {:<width$}  {state} {}", instance.label, instance.note()).trim_end().to_owned()
}
