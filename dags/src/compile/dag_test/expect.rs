//! `expect`: what must come of the run.

use crate::{
    compile::Context,
    dag_test::{AlertExpect, Expect, Placed, TaskExpect},
    diagnostic::{Draft, code},
    tree::{ByteRange, Kind, Node},
};

/// The keys of `expect`.
pub const EXPECT_KEYS: &[&str] = &[
    "state",
    "reason",
    "tasks",
    "order",
    "branch",
    "alerts",
    "assets",
    "next_runs",
    "duration",
    "check",
    "snapshot",
];
/// The keys of a task in `expect`.
pub const TASK_EXPECT_KEYS: &[&str] =
    &["state", "tries", "instances", "result", "rendered", "reason", "starts"];
/// The keys of an alert.
pub const ALERT_KEYS: &[&str] = &["kind", "to", "task"];
/// The kinds of alerts, under the engine's names.
pub const ALERT_KINDS: &[&str] = &["failure", "success", "retry", "deadline", "input"];
/// The states that a run may end in; `running` is one that waits for something that doesn't come.
pub const RUN_STATES: &[&str] = &["success", "failed", "running"];
/// The states of task instances, under the engine's names.
pub const TASK_STATES: &[&str] = &[
    "none",
    "scheduled",
    "queued",
    "running",
    "restarting",
    "up_for_retry",
    "up_for_reschedule",
    "deferred",
    "awaiting_input",
    "success",
    "failed",
    "skipped",
    "upstream_failed",
    "removed",
];

impl Context<'_, '_> {
    /// `expect`, or what is expected if nothing is said. `whole` is the place of the test.
    pub(super) fn expect(&mut self, node: Option<&Node>, whole: ByteRange) -> Option<Expect> {
        let mut expect = Expect {
            state: Placed { value: "success".to_owned(), span: node.map_or(whole, |node| node.span) },
            reason: None,
            tasks: Vec::new(),
            order: Vec::new(),
            branch: Vec::new(),
            alerts: None,
            assets: None,
            next_runs: None,
            duration: None,
            check: Vec::new(),
            snapshot: false,
        };
        let Some(node) = node else { return Some(expect) };
        let object = self.object(node, "`expect`", EXPECT_KEYS)?;
        if let Some(node) = object.get("state") {
            expect.state = self.word(node, "state", RUN_STATES)?;
        }
        expect.reason = object.get("reason").and_then(|node| self.placed_text(node, "reason"));
        if let Some(node) = object.get("tasks") {
            for entry in self.pairs(node, "tasks", "a group of `task: state` pairs") {
                let of = self.selector(&entry.key);
                let task = self.task_expect(&entry.value);
                expect.tasks.extend(of.zip(task));
            }
        }
        if let Some(node) = object.get("order") {
            expect.order = self.placed_texts(node, "order", "a list of tasks");
        }
        if let Some(node) = object.get("branch") {
            for entry in self.pairs(node, "branch", "a group of `branch: what it follows` pairs") {
                let of = Placed { value: entry.key.text.clone(), span: entry.key.span };
                let names = self.texts(&entry.value, &entry.key.text, "a task or a list of tasks");
                let mut names: Vec<String> = names.into_iter().map(|(name, _)| name.to_owned()).collect();
                names.sort();
                expect.branch.push((of, Placed { value: names, span: entry.value.span }));
            }
        }
        if let Some(node) = object.get("alerts") {
            expect.alerts = self.alerts(node);
        }
        if let Some(node) = object.get("assets") {
            let names = self.texts(node, "assets", "an asset or a list of assets");
            let value = names.into_iter().map(|(name, _)| name.to_owned()).collect();
            expect.assets = Some(Placed { value, span: node.span });
        }
        if let Some(node) = object.get("next_runs") {
            expect.next_runs = Some(Placed { value: self.instants(node, "next_runs"), span: node.span });
        }
        expect.duration = object.get("duration").and_then(|node| self.placed_span(node, "duration"));
        if let Some(node) = object.get("check") {
            expect.check = self.placed_texts(node, "check", "a Rhai script or a list of them");
        }
        if let Some(node) = object.get("snapshot") {
            expect.snapshot = self.flag(node, "snapshot")?;
        }
        Some(expect)
    }

    fn task_expect(&mut self, node: &Node) -> Option<TaskExpect> {
        if node.as_str().is_some() {
            let state = Some(self.word(node, "state", TASK_STATES)?);
            return Some(TaskExpect { state, ..TaskExpect::default() });
        }
        let object = self.object(node, "what is expected of a task", TASK_EXPECT_KEYS)?;
        let mut expect = TaskExpect::default();
        if let Some(node) = object.get("state") {
            expect.state = Some(self.word(node, "state", TASK_STATES)?);
        }
        for (key, most, into) in
            [("tries", 1_000_000, &mut expect.tries), ("instances", 100_000, &mut expect.instances)]
        {
            let Some(node) = object.get(key) else { continue };
            *into = self.count(node, key, 0, most).map(|value| Placed { value, span: node.span });
        }
        let result = object.entry("result");
        expect.result = result.map(|entry| Placed { value: entry.value.to_json(), span: entry.value.span });
        if let Some(node) = object.get("rendered") {
            for entry in self.pairs(node, "rendered", "a group of `parameter: value` pairs") {
                let value = Placed { value: entry.value.to_json(), span: entry.value.span };
                expect.rendered.push((entry.key.text.clone(), value));
            }
        }
        expect.reason = object.get("reason").and_then(|node| self.placed_text(node, "reason"));
        expect.starts = object.get("starts").and_then(|node| self.placed_span(node, "starts"));
        Some(expect)
    }

    fn alerts(&mut self, node: &Node) -> Option<Placed<Vec<AlertExpect>>> {
        let Kind::Seq(nodes) = &node.kind else {
            self.expected(node, "alerts", "a list of alerts; `[]` means none", None);
            return None;
        };
        let mut alerts = Vec::new();
        for node in nodes {
            let object = self.object(node, "an alert", ALERT_KEYS)?;
            let (Some(kind), Some(to)) = (object.get("kind"), object.get("to")) else {
                let draft = Draft::error(code::DAG_MISSING_KEY, "an alert needs `kind` and `to`");
                self.push(
                    draft
                        .at(node.span, "missing here")
                        .help("write `{ kind: failure, to: on-call }`".to_owned()),
                );
                return None;
            };
            let kind = self.word(kind, "kind", ALERT_KINDS)?.value;
            let to = self.text(to, "to")?.to_owned();
            let task = object.get("task").and_then(|node| self.text(node, "task")).map(str::to_owned);
            alerts.push(AlertExpect { kind, to, task });
        }
        Some(Placed { value: alerts, span: node.span })
    }

    fn word(&mut self, node: &Node, what: &str, all: &[&str]) -> Option<Placed<String>> {
        let choices: Vec<(&str, usize)> = all.iter().enumerate().map(|(n, word)| (*word, n)).collect();
        let chosen = self.choice(node, what, &choices)?;
        Some(Placed { value: all[chosen].to_owned(), span: node.span })
    }

    fn placed_span(&mut self, node: &Node, what: &str) -> Option<Placed<crate::time::Span>> {
        self.span(node, what).map(|value| Placed { value, span: node.span })
    }
}
