//! One document: the DAG's own fields, then its tasks, then what crosses them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Context, DAG_KEYS, POLICY_KEYS, TASK_KEYS, TASKS_MAX, groups::GroupDraft, keys, link, object::Object,
    policy::Policy, task::TaskDraft,
};
use crate::{
    diagnostic::{Draft, code},
    ids::DagId,
    model::{Dag, FORMAT},
    timetable::Bounds,
    tree::{ByteRange, Entry, Kind, Node},
};

const ACTIVE_MAX: u32 = 100_000;
const TAGS_MAX: usize = 100;
const TAG_BYTES_MAX: usize = 100;
const DOC_BYTES_MAX: usize = 256 * 1024;

/// Reads a document; yields the DAG and where its name stands. A DAG with errors is only good for naming it.
pub(super) fn read(context: &mut Context<'_, '_>, tree: &Node) -> Option<(Dag, ByteRange)> {
    if !matches!(tree.kind, Kind::Map(_)) {
        let message = format!("expected a DAG, found {}", tree.describe());
        let help = "start with `dag: name` and `tasks:`".to_owned();
        context.push(Draft::error(code::DAG_TYPE, message).at(tree.span, "not a DAG").help(help));
        return None;
    }
    let object = context.open_object(tree, "dag", "a DAG")?;
    context.dag_keys(&object);
    let name =
        context.of_document(&object, "dag").and_then(|node| Some((context.name(node, "dag")?, node.span)));

    let dag = context.dag(&object, name.as_ref().map(|(name, _): &(DagId, ByteRange)| name.clone()))?;
    Some((dag, name?.1))
}

impl Context<'_, '_> {
    /// A key that every DAG must have, unless another system's word for it is there, which is reported already.
    fn of_document<'n>(&mut self, object: &Object<'n>, key: &str) -> Option<&'n Node> {
        let meant = |entry: &Entry| keys::foreign(&entry.key.text).is_some_and(|(_, ours, _)| ours == key);
        if object.entry(key).is_none() && !object.entries().iter().any(meant) {
            let help =
                if key == "dag" { "add `dag: name`" } else { "add `tasks:` and below it at least one task" };
            self.push(
                Draft::error(code::DAG_MISSING_KEY, format!("the DAG has no `{key}`"))
                    .at(object.span, format!("`{key}` must be here"))
                    .help(help.to_owned()),
            );
        }
        object.get(key)
    }

    fn dag_keys(&mut self, object: &Object<'_>) {
        self.refuse_catchup(object);
        for entry in object.entries() {
            match entry.key.text.as_str() {
                "catchup" => {}
                // A line `schedule:` without a value says that there is no schedule.
                "schedule" if entry.value.kind == Kind::Null => {}
                _ => self.known_key(&entry.key, &entry.value, "a DAG", DAG_KEYS),
            }
        }
    }

    fn dag(&mut self, object: &Object<'_>, dag_id: Option<DagId>) -> Option<Dag> {
        let get = |key: &str| object.get(key);
        let (schedule, zone) = self.schedule(get("schedule"));
        let start_date = get("start_date").and_then(|n| self.instant(n, "start_date", &zone));
        let end_date = get("end_date").and_then(|n| self.instant(n, "end_date", &zone));
        if let (Some(start), Some(end), Some(node)) = (start_date, end_date, get("end_date"))
            && end < start
        {
            let start_at = get("start_date").map_or(object.span, |node| node.span);
            self.push(
                Draft::error(
                    code::DAG_TIME,
                    "`end_date` lies before `start_date`, so no run could ever be made",
                )
                .at(node.span, "the end")
                .at(start_at, "the start"),
            );
        }
        if let Some(node) = get("schedule") {
            let at = ["cron", "crons", "every"].iter().find_map(|key| node.get(key)).unwrap_or(node).span;
            self.check_timetable(&schedule, Bounds { start_date, end_date }, at);
            self.check_start(&schedule, get("start_date").is_some(), at);
        }
        let params = get("params").map(|n| self.params(n, &schedule.when)).unwrap_or_default();
        let defaults = self.defaults(object);
        let mut dag = Dag {
            format: FORMAT,
            dag_id: dag_id
                .clone()
                .unwrap_or_else(|| DagId::parse("unnamed").expect("invariant: follows the grammar")),
            doc: get("doc").and_then(|n| self.doc(n)),
            owner: get("owner").and_then(|n| self.text(n, "owner")).map(str::to_owned),
            tags: get("tags").map(|n| self.tags(n)).unwrap_or_default(),
            schedule,
            start_date,
            end_date,
            params,
            max_active_runs: get("max_active_runs")
                .and_then(|n| self.count(n, "max_active_runs", 1, ACTIVE_MAX))
                .unwrap_or(16),
            max_active_tasks: get("max_active_tasks")
                .and_then(|n| self.count(n, "max_active_tasks", 1, ACTIVE_MAX))
                .unwrap_or(16),
            max_consecutive_failed_runs: get("max_consecutive_failed_runs")
                .and_then(|n| self.count(n, "max_consecutive_failed_runs", 0, ACTIVE_MAX))
                .unwrap_or(0),
            fail_fast: get("fail_fast").and_then(|n| self.flag(n, "fail_fast")).unwrap_or(false),
            run_timeout: get("run_timeout").and_then(|n| self.some_span(n, "run_timeout")),
            on_failure: get("on_failure").map(|n| self.notifies(n, "on_failure")).unwrap_or_default(),
            on_success: get("on_success").map(|n| self.notifies(n, "on_success")).unwrap_or_default(),
            deadlines: get("deadline").map(|n| self.deadlines(n)).unwrap_or_default(),
            groups: Vec::new(),
            tasks: Vec::new(),
            files: BTreeMap::new(),
            plugins: BTreeMap::new(),
        };
        let groups = get("groups").map(|n| self.groups(n)).unwrap_or_default();
        let errors = self.reporter.errors();
        let tasks = self.tasks(object, &defaults);
        // If a task couldn't be read, references to it are no errors of their own.
        let complete = self.reporter.errors() == errors;
        self.link(&mut dag, tasks, groups, object, complete);
        dag_id.map(|_| dag)
    }

    fn link(
        &mut self,
        dag: &mut Dag,
        tasks: Vec<TaskDraft<'_>>,
        groups: Vec<GroupDraft<'_>>,
        object: &Object<'_>,
        complete: bool,
    ) {
        let mut declared = BTreeSet::new();
        if !complete && let Some(Kind::Map(entries)) = object.get("tasks").map(|node| &node.kind) {
            declared.extend(entries.iter().map(|entry| entry.key.text.as_str()));
        }
        link::link(self, dag, tasks, groups, &declared);
    }

    fn defaults(&mut self, object: &Object<'_>) -> Policy {
        let Some(node) = object.get("defaults") else { return Policy::default() };
        let Some(defaults) = self.open_object(node, "defaults", "fields that all tasks share") else {
            return Policy::default();
        };
        for entry in defaults.entries() {
            let key = entry.key.text.as_str();
            if TASK_KEYS.contains(&key) && !POLICY_KEYS.contains(&key) {
                let message = format!("`{key}` can't be a default");
                self.push(
                    Draft::error(code::DAG_UNKNOWN_KEY, message)
                        .at(entry.key.span, "not here")
                        .help("it differs from task to task: write it there".to_owned()),
                );
            } else if self.catalog.get(key).is_some() {
                let message =
                    format!("`{key}` is an operator, and `defaults` are for fields that all tasks share");
                self.push(Draft::error(code::DAG_UNKNOWN_KEY, message).at(entry.key.span, "not here"));
            } else {
                self.known_key(&entry.key, &entry.value, "`defaults`", POLICY_KEYS);
            }
        }
        self.policy(&defaults)
    }

    fn tasks<'n>(&mut self, object: &Object<'n>, defaults: &Policy) -> Vec<TaskDraft<'n>> {
        let Some(node) = self.of_document(object, "tasks") else { return Vec::new() };
        let entries = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Seq(_) => {
                let help =
                    "write `tasks:` and below it, indented, `name:` for each task, without `-`".to_owned();
                self.expected(node, "tasks", "a group of `name: task` pairs", Some(help));
                return Vec::new();
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str(_) => {
                self.expected(node, "tasks", "a group of `name: task` pairs", None);
                return Vec::new();
            }
        };
        if entries.is_empty() || entries.len() > TASKS_MAX {
            let message = if entries.is_empty() {
                "a DAG must have at least one task".to_owned()
            } else {
                format!("the DAG has {} tasks; at most {TASKS_MAX} are allowed", entries.len())
            };
            self.push(Draft::error(code::DAG_LIMIT, message).at(node.span, "the tasks"));
            return Vec::new();
        }
        entries.iter().filter_map(|entry| self.task(entry, defaults)).collect()
    }

    fn doc(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "doc")?;
        if text.len() > DOC_BYTES_MAX {
            self.refused(node, "doc", format_args!("may have at most {DOC_BYTES_MAX} bytes"));
            return None;
        }
        Some(text.to_owned())
    }

    fn tags(&mut self, node: &Node) -> BTreeSet<String> {
        let mut tags = BTreeSet::new();
        for (tag, node) in self.texts(node, "tags", "a list of words") {
            if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
                self.refused(node, "tags", format_args!("must have 1 to {TAG_BYTES_MAX} bytes each"));
            }
            tags.insert(tag.to_owned());
        }
        if tags.len() > TAGS_MAX {
            self.refused(node, "tags", format_args!("may be at most {TAGS_MAX}"));
        }
        tags
    }
}
