//! Who hears of what: `on_failure`, `on_success`, `deadline` of a DAG and `notify` of a task.

use super::{Context, object::Object};
use crate::{
    diagnostic::{Draft, code},
    model::{Deadline, DeadlineFrom, Notify, TaskEvent, TaskNotify},
    tree::{Kind, Node},
};

impl Context<'_, '_> {
    /// A route, written as its name, `{ notify: name }` or a list of those.
    pub(super) fn notifies(&mut self, node: &Node, what: &str) -> Vec<Notify> {
        let nodes = as_list(node);
        let mut found = Vec::new();
        for node in nodes {
            let route = if matches!(node.kind, Kind::Map(_)) {
                self.object(node, &format!("`{what}`"), &["notify"])
                    .and_then(|object| self.required(&object, "notify", what))
                    .and_then(|route| self.route(route, what))
            } else {
                self.route(node, what)
            };
            found.extend(route.map(|notify| Notify { notify }));
        }
        found.sort_by(|a, b| a.notify.cmp(&b.notify));
        found.dedup();
        found
    }

    /// `notify` of a task: a route (on failure), `{ on, notify }` or a list of those.
    pub(super) fn task_notifies(&mut self, node: &Node) -> Vec<TaskNotify> {
        let mut found = Vec::new();
        for node in as_list(node) {
            if !matches!(node.kind, Kind::Map(_)) {
                let route = self.route(node, "notify");
                found.extend(route.map(|notify| TaskNotify { on: TaskEvent::Failure, notify }));
                continue;
            }
            let Some(object) = self.object(node, "`notify`", &["on", "notify"]) else { continue };
            let route =
                self.required(&object, "notify", "notify").and_then(|route| self.route(route, "notify"));
            let events = match object.get("on") {
                None => vec![TaskEvent::Failure],
                Some(on) => as_list(on)
                    .into_iter()
                    .filter_map(|event| self.choice(event, "on", TaskEvent::ALL))
                    .collect(),
            };
            if let Some(notify) = route {
                found.extend(events.into_iter().map(|on| TaskNotify { on, notify: notify.clone() }));
            }
        }
        found.sort_by(|a, b| (a.on, &a.notify).cmp(&(b.on, &b.notify)));
        found.dedup();
        found
    }

    /// `deadline`: one or a list.
    pub(super) fn deadlines(&mut self, node: &Node) -> Vec<Deadline> {
        let mut found = Vec::new();
        for node in as_list(node) {
            let Some(object) = self.object(node, "`deadline`", &["from", "within", "notify"]) else {
                continue;
            };
            let from = match object.get("from") {
                None => Some(DeadlineFrom::default()),
                Some(from) => self.choice(from, "from", DeadlineFrom::ALL),
            };
            let within =
                self.required(&object, "within", "deadline").and_then(|node| self.some_span(node, "within"));
            let notify =
                self.required(&object, "notify", "deadline").and_then(|node| self.route(node, "notify"));
            if let (Some(from), Some(within), Some(notify)) = (from, within, notify) {
                found.push(Deadline { from, within, notify: notify.clone() });
            }
        }
        found.sort_by(|a, b| (a.from, a.within, &a.notify).cmp(&(b.from, b.within, &b.notify)));
        found.dedup();
        found
    }

    fn route(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if text.is_empty() || text.len() > crate::ids::NAME_BYTES_MAX {
            self.refused(node, what, "must name a notification route");
            return None;
        }
        self.check_route(text, node.span);
        Some(text.to_owned())
    }

    /// The value of a key that must be there.
    pub(super) fn required<'n>(&mut self, object: &Object<'n>, key: &str, of: &str) -> Option<&'n Node> {
        if object.entry(key).is_none() {
            self.push(
                Draft::error(code::DAG_MISSING_KEY, format!("`{of}` lacks `{key}`"))
                    .at(object.span, format!("`{key}` must be here")),
            );
        }
        object.get(key)
    }
}

fn as_list(node: &Node) -> Vec<&Node> {
    if let Kind::Seq(nodes) = &node.kind { nodes.iter().collect() } else { vec![node] }
}
