//! The DAGs that a script has made so far.

use std::collections::BTreeMap;

use crate::{
    dag_api::{DagHandle, GroupHandle, TaskHandle},
    fault::Fault,
    node::{Entry, Kind, Node, Span},
    source::Source,
};

/// The most DAGs of one script.
const DAGS_MAX: usize = 1_000;
/// The most tasks of one DAG, as in YAML.
const TASKS_MAX: usize = 10_000;
/// The most tasks of one script, which bounds its memory.
const TASKS_IN_ALL_MAX: usize = 100_000;

fn too_many(what: &str, most: usize) -> Fault {
    Fault::new(format!("the script makes too many {what}: at most {most} are allowed"))
        .limit("tasks")
        .hint("does a loop ever end? work on many things with one mapped task: `.map(...)`")
}

/// A DAG under construction.
#[derive(Debug)]
pub(crate) struct DagDraft {
    pub(crate) name: String,
    span: Span,
    keys: Vec<Entry>,
    tasks: BTreeMap<String, usize>,
    order: Vec<usize>,
    groups: Vec<usize>,
}

/// A task under construction.
#[derive(Debug)]
pub(crate) struct TaskDraft {
    pub(crate) name: String,
    pub(crate) dag: usize,
    span: Span,
    operator: Entry,
    keys: Vec<Entry>,
    needs: Vec<Node>,
    needs_span: Span,
}

/// A group under construction.
#[derive(Debug)]
pub(crate) struct GroupDraft {
    pub(crate) name: String,
    span: Span,
    keys: Vec<Entry>,
}

/// Everything that one script has made. Handles are indices, so they stay small and never dangle.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) source: Source,
    dags: Vec<DagDraft>,
    tasks: Vec<TaskDraft>,
    groups: Vec<GroupDraft>,
}

/// Sets a key, replacing what it was before.
fn set(keys: &mut Vec<Entry>, entry: Entry) {
    match keys.iter_mut().find(|known| known.key.text == entry.key.text) {
        Some(known) => *known = entry,
        None => keys.push(entry),
    }
}

impl Draft {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, ..Self::default() }
    }

    pub(crate) fn add_dag(&mut self, name: String, span: Span, keys: Vec<Entry>) -> Result<DagHandle, Fault> {
        if self.dags.iter().any(|dag| dag.name == name) {
            return Err(Fault::new(format!("there is already a DAG `{name}` in this script")));
        }
        if self.dags.len() >= DAGS_MAX {
            return Err(too_many("DAGs", DAGS_MAX));
        }
        self.dags.push(DagDraft {
            name,
            span,
            keys,
            tasks: BTreeMap::new(),
            order: Vec::new(),
            groups: Vec::new(),
        });
        Ok(DagHandle(self.dags.len() - 1))
    }

    pub(crate) fn add_task(
        &mut self,
        dag: DagHandle,
        name: String,
        span: Span,
        operator: Entry,
    ) -> Result<TaskHandle, Fault> {
        let index = self.tasks.len();
        let owner = &mut self.dags[dag.0];
        if owner.tasks.contains_key(&name) {
            return Err(Fault::new(format!("there is already a task `{name}` in the DAG `{}`", owner.name))
                .hint("build the name from the loop's variable, for example `\"load_\" + region`"));
        }
        if owner.order.len() >= TASKS_MAX {
            return Err(too_many(&format!("tasks in the DAG `{}`", owner.name), TASKS_MAX));
        }
        if index >= TASKS_IN_ALL_MAX {
            return Err(too_many("tasks", TASKS_IN_ALL_MAX));
        }
        owner.tasks.insert(name.clone(), index);
        owner.order.push(index);
        self.tasks.push(TaskDraft {
            name,
            dag: dag.0,
            span,
            operator,
            keys: Vec::new(),
            needs: Vec::new(),
            needs_span: span,
        });
        Ok(TaskHandle(index))
    }

    pub(crate) fn add_group(&mut self, dag: DagHandle, name: String, span: Span, tasks: Node) -> GroupHandle {
        let index = self.groups.len();
        self.groups.push(GroupDraft { name, span, keys: vec![Entry::new(span, "tasks", tasks)] });
        self.dags[dag.0].groups.push(index);
        GroupHandle(index)
    }

    pub(crate) fn dag(&self, dag: DagHandle) -> &DagDraft {
        &self.dags[dag.0]
    }

    pub(crate) fn task(&self, task: TaskHandle) -> &TaskDraft {
        &self.tasks[task.0]
    }

    pub(crate) fn group(&self, group: GroupHandle) -> &GroupDraft {
        &self.groups[group.0]
    }

    pub(crate) fn set_dag(&mut self, dag: DagHandle, entry: Entry) {
        set(&mut self.dags[dag.0].keys, entry);
    }

    pub(crate) fn set_task(&mut self, task: TaskHandle, entry: Entry) {
        if entry.key.text == "needs" {
            self.need(task, entry.value);
        } else {
            set(&mut self.tasks[task.0].keys, entry);
        }
    }

    pub(crate) fn set_group(&mut self, group: GroupHandle, entry: Entry) {
        set(&mut self.groups[group.0].keys, entry);
    }

    /// Adds upstream tasks; the same one twice counts once.
    pub(crate) fn need(&mut self, task: TaskHandle, upstream: Node) {
        let task = &mut self.tasks[task.0];
        let upstream = match upstream {
            Node { kind: Kind::Seq(nodes), .. } => nodes,
            node => vec![node],
        };
        for node in upstream {
            if task.needs.is_empty() {
                task.needs_span = node.span;
            }
            if !task.needs.iter().any(|known| known.kind == node.kind) {
                task.needs.push(node);
            }
        }
    }

    /// The DAGs that the script made but doesn't hand over.
    pub(crate) fn forgotten(&self, returned: &[DagHandle]) -> Vec<&DagDraft> {
        let is_returned = |index: &usize| returned.iter().any(|dag| dag.0 == *index);
        (0..self.dags.len()).filter(|index| !is_returned(index)).map(|index| &self.dags[index]).collect()
    }

    /// The tree of one DAG.
    pub(crate) fn tree(&self, dag: DagHandle) -> Node {
        let dag = &self.dags[dag.0];
        let mut entries = vec![Entry::new(dag.span, "dag", Node::text(dag.span, dag.name.clone()))];
        entries.extend(dag.keys.iter().cloned());
        if !dag.order.is_empty() {
            let tasks = dag.order.iter().map(|index| self.tasks[*index].entry()).collect();
            entries.push(Entry::new(dag.span, "tasks", Node { span: dag.span, kind: Kind::Map(tasks) }));
        }
        if !dag.groups.is_empty() {
            let groups = dag.groups.iter().map(|index| self.groups[*index].entry()).collect();
            entries.push(Entry::new(dag.span, "groups", Node { span: dag.span, kind: Kind::Map(groups) }));
        }
        Node { span: dag.span, kind: Kind::Map(entries) }
    }
}

impl DagDraft {
    pub(crate) fn span(&self) -> Span {
        self.span
    }
}

impl TaskDraft {
    fn entry(&self) -> Entry {
        let mut entries = vec![self.operator.clone()];
        if !self.needs.is_empty() {
            let needs = Node { span: self.needs_span, kind: Kind::Seq(self.needs.clone()) };
            entries.push(Entry::new(self.needs_span, "needs", needs));
        }
        entries.extend(self.keys.iter().cloned());
        Entry::new(self.span, self.name.clone(), Node { span: self.span, kind: Kind::Map(entries) })
    }
}

impl GroupDraft {
    fn entry(&self) -> Entry {
        Entry::new(self.span, self.name.clone(), Node { span: self.span, kind: Kind::Map(self.keys.clone()) })
    }
}
