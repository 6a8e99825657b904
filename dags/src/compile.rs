//! From document trees to validated DAGs: every rule of the language, with all errors of a file at once.
//!
//! [`compile`] reads YAML; [`compile_tree`] takes a tree that the script host made. Both pass the same checks, so the
//! two front ends can't drift apart. Each document is read in three passes: its own fields ([`dag`]), its tasks one by
//! one ([`task`]), and what crosses tasks ([`link`]). Nothing here is quadratic in the size of the file.

mod branch;
mod context;
mod dag;
pub(crate) mod dag_test;
mod files;
mod groups;
mod instants;
mod keys;
mod link;
mod map;
mod notify;
mod object;
mod offers;
mod operator;
mod params;
mod pod;
mod policy;
mod references;
mod resources;
mod schedule;
mod task;

use std::collections::{BTreeMap, BTreeSet};

use self::context::Context;
pub use self::{
    files::{FileLookup, FileProblem, NoFiles},
    keys::{DAG_KEYS, GROUP_KEYS, TASK_KEYS},
};
pub(crate) use self::{
    keys::POLICY_KEYS,
    pod::{POD_KEYS, TOLERATION_KEYS},
    resources::{GPU_KEYS, RESOURCE_KEYS},
    schedule::SCHEDULE_KEYS,
};
use crate::{
    catalog::Catalog,
    diagnostic::{Diagnostic, Draft, Reporter, Severity, Source, code},
    ids::DagId,
    model::Dag,
    tree::{ByteRange, DEPTH_MAX, Kind, Node},
    yaml,
};

/// The most tasks of one DAG.
pub const TASKS_MAX: usize = 10_000;
/// The most groups of one DAG.
pub const GROUPS_MAX: usize = 1_000;
/// The most entries of one mapped list, and of the product of a task's lists.
pub const MAP_LENGTH_MAX: usize = 100_000;
/// The most direct upstream relations of one DAG.
pub const RELATIONS_MAX: usize = 200_000;

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The DAGs that have no errors, in the order of the file.
    pub dags: Vec<Dag>,
    /// Everything that is wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Compiled {
    /// Whether the file can't be used as it is.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Compiles all documents of a YAML file. Documents without errors become DAGs even if others have some.
pub fn compile(source: &Source, catalog: &Catalog, files: &dyn FileLookup) -> Compiled {
    let mut reporter = Reporter::new(source);
    let documents = yaml::read(&mut reporter);
    if documents.is_empty() && reporter.errors() == 0 {
        reporter.push(
            Draft::error(code::DAG_EMPTY, "the file defines no DAG")
                .help("start with `dag: name` and `tasks:`".to_owned()),
        );
    }
    let trees = documents.iter().map(|document| (&document.tree, document.sound));
    finish(reporter, trees, catalog, files)
}

/// Compiles trees that weren't made from YAML. Their spans refer to the source, which is the script.
/// They may come from another process, so they are checked for what YAML's parser guarantees.
pub fn compile_tree(source: &Source, trees: &[Node], catalog: &Catalog, files: &dyn FileLookup) -> Compiled {
    let mut reporter = Reporter::new(source);
    let mut sound = Vec::new();
    for tree in trees {
        let errors = reporter.errors();
        check_tree(tree, 1, &mut reporter);
        if reporter.errors() == errors {
            sound.push((tree, true));
        }
    }
    finish(reporter, sound.into_iter(), catalog, files)
}

// The recursion is bounded by the check of the depth.
fn check_tree(node: &Node, depth: usize, reporter: &mut Reporter<'_>) {
    if depth > DEPTH_MAX {
        let message = format!("values are nested more than {DEPTH_MAX} deep");
        return reporter.push(Draft::error(code::DAG_LIMIT, message).at(node.span, "here"));
    }
    match &node.kind {
        Kind::Seq(nodes) => nodes.iter().for_each(|node| check_tree(node, depth + 1, reporter)),
        Kind::Map(entries) => {
            let mut seen = BTreeMap::new();
            for entry in entries {
                if let Some(before) = seen.insert(entry.key.text.as_str(), entry.key.span) {
                    let message = format!("`{}` is defined twice", entry.key.text);
                    let draft = Draft::error(code::DAG_DUPLICATE, message);
                    reporter.push(draft.at(entry.key.span, "again here").at(before, "first here"));
                }
                check_tree(&entry.value, depth + 1, reporter);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str(_) => {}
    }
}

fn finish<'n>(
    reporter: Reporter<'_>,
    trees: impl Iterator<Item = (&'n Node, bool)>,
    catalog: &Catalog,
    files: &dyn FileLookup,
) -> Compiled {
    let mut context = Context { reporter, catalog, files, lacking: BTreeSet::new() };
    let mut dags = Vec::new();
    let mut names: BTreeMap<DagId, ByteRange> = BTreeMap::new();
    for (tree, sound) in trees {
        let errors = context.reporter.errors();
        let Some((dag, name)) = dag::read(&mut context, tree) else { continue };
        if let Some(before) = names.get(&dag.dag_id) {
            context.push(
                Draft::error(
                    code::DAG_DUPLICATE,
                    format!("two DAGs of this file are named `{}`", dag.dag_id),
                )
                .at(name, "again here")
                .at(*before, "first here")
                .help("give one of them another name".to_owned()),
            );
        }
        names.entry(dag.dag_id.clone()).or_insert(name);
        if sound && context.reporter.errors() == errors {
            dags.push(dag);
        }
    }
    Compiled { dags, diagnostics: context.reporter.finish() }
}
