//! From document trees to validated DAGs: every rule of the language, with all errors of a file at once.
//!
//! [`compile`] reads YAML; [`compile_tree`] takes a tree that the script host made. Both pass the same checks, so the
//! two front ends can't drift apart. Each document is read in three passes: its own fields ([`dag`]), its tasks one by
//! one ([`task`]), and what crosses tasks ([`link`]). Nothing here is quadratic in the size of the file.

mod branch;
mod context;
mod dag;
mod files;
mod groups;
mod instants;
mod keys;
mod link;
mod map;
mod notify;
mod object;
mod operator;
mod params;
mod policy;
mod references;
mod resources;
mod schedule;
mod task;

use std::collections::BTreeMap;

use self::context::Context;
pub use self::files::{FileLookup, FileProblem, NoFiles};
pub(crate) use self::{
    keys::{DAG_KEYS, GROUP_KEYS, POLICY_KEYS, TASK_KEYS},
    resources::{GPU_KEYS, RESOURCE_KEYS},
    schedule::SCHEDULE_KEYS,
};
use crate::{
    catalog::Catalog,
    diagnostic::{Diagnostic, Draft, Reporter, Severity, Source, code},
    ids::DagId,
    model::Dag,
    tree::{ByteRange, Node},
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

/// Compiles a tree that was not made from YAML. Its spans refer to the source, which is the script.
pub fn compile_tree(source: &Source, trees: &[Node], catalog: &Catalog, files: &dyn FileLookup) -> Compiled {
    finish(Reporter::new(source), trees.iter().map(|tree| (tree, true)), catalog, files)
}

fn finish<'n>(
    reporter: Reporter<'_>,
    trees: impl Iterator<Item = (&'n Node, bool)>,
    catalog: &Catalog,
    files: &dyn FileLookup,
) -> Compiled {
    let mut context = Context { reporter, catalog, files };
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
