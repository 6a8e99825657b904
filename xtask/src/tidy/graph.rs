//! Who may depend on whom.
//!
//! Dependencies of tests are left out: a test may look further than what it tests.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::tidy::Finding;
use crate::workspace::{Metadata, OWN_WORKSPACES, SCRIPT_HOST, Workspace};

/// Which of our own packages each of them may name in its manifest. A package that is not listed may
/// name any; each new one gets a line here or a sentence on why it does not.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("dags", &[]),
    ("engine", &["dags"]),
    ("plugins", &["dags", "updraft-template"]),
    ("executor", &["dags", "engine", "plugins"]),
    ("migrations", &["dags", "engine"]),
    ("telemetry", &[]),
    ("scheduler", &["dags", "engine", "plugins", "executor", "migrations", "telemetry"]),
    ("api", &["dags", "engine", "plugins", "migrations", "telemetry"]),
    ("web-console", &[]),
    ("xtask", &[]),
];

/// What a package must not reach by any path, and why.
const NEVER_REACHES: &[(&str, &[&str], &str)] = &[
    ("dags", IO, "dags is pure: no clock, network, database or runtime"),
    ("engine", IO, "the engine is pure: no clock, network, database or runtime"),
    ("plugins", &["migrations", "sea-orm"], "no database credentials on workers"),
    ("executor", &["migrations", "sea-orm"], "no database credentials on workers"),
    ("scheduler", &["api", "axum"], "api and scheduler meet in the tables only"),
    ("api", &["scheduler"], "api and scheduler meet in the tables only"),
];

const IO: &[&str] =
    &["tokio", "async-std", "smol", "sea-orm", "sqlx", "sqlx-core", "reqwest", "hyper", "rustls"];

/// Packages that may not be in any of our graphs, and why.
const NOWHERE: &[(&str, &str)] = &[
    ("aws-lc-rs", "the one rustls provider is ring"),
    ("aws-lc-sys", "the one rustls provider is ring"),
    ("native-tls", "TLS is rustls with ring"),
    ("openssl", "TLS is rustls with ring"),
    ("openssl-sys", "TLS is rustls with ring"),
];

/// Packages that only one other may bring into the root's graph, and why.
const ONLY_THROUGH: &[(&str, &str, &str)] = &[(
    "rhai",
    "casbin",
    "casbin builds rhai without limits, so scripts run in dags/script-host, a workspace of its own",
)];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let graph = Graph::of(&workspace.metadata("Cargo.toml")?);
    let mut findings = directions(&graph);
    findings.extend(nowhere("Cargo.toml", &graph));
    findings.extend(only_through(&graph));
    for manifest in OWN_WORKSPACES {
        let metadata = workspace.metadata(manifest)?;
        findings.extend(nowhere(manifest, &Graph::of(&metadata)));
        if *manifest == SCRIPT_HOST {
            findings.extend(outsiders(workspace, manifest, &metadata));
        }
    }
    Ok(findings)
}

/// The packages by name, with what each depends on outside its tests.
#[derive(Default)]
struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
    members: BTreeSet<String>,
}

impl Graph {
    fn of(metadata: &Metadata) -> Self {
        let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, &p.name)).collect();
        let mut graph = Self::default();
        for node in &metadata.resolve.nodes {
            let edges = graph.edges.entry(names[&node.id].clone()).or_default();
            for dependency in &node.deps {
                if dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")) {
                    edges.insert(names[&dependency.pkg].clone());
                }
            }
        }
        graph.members = metadata.workspace_members.iter().map(|id| names[id].clone()).collect();
        graph
    }

    fn direct(&self, name: &str) -> impl Iterator<Item = &String> {
        self.edges.get(name).into_iter().flatten()
    }

    /// The shortest way from one package to another, both included.
    fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut came_from = BTreeMap::new();
        let mut queue = vec![from.to_owned()];
        let mut next = 0;
        while let Some(name) = queue.get(next).cloned() {
            next += 1;
            if name == to && next > 1 {
                let mut path = vec![name];
                while let Some(previous) = path.last().and_then(|last| came_from.get(last)).cloned() {
                    path.push(previous);
                }
                path.reverse();
                return Some(path);
            }
            for dependency in self.direct(&name) {
                if dependency != from && !came_from.contains_key(dependency) {
                    came_from.insert(dependency.clone(), name.clone());
                    queue.push(dependency.clone());
                }
            }
        }
        None
    }
}

fn directions(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, allowed) in MAY_NAME {
        for dependency in graph.direct(name) {
            if graph.members.contains(dependency) && !allowed.contains(&dependency.as_str()) {
                let message = format!("{name} must not depend on {dependency} (ARCHITECTURE.md, \"Crates\")");
                findings.push(Finding::new("Cargo.toml", 0, "direction", message));
            }
        }
    }
    for (name, forbidden, why) in NEVER_REACHES {
        for target in *forbidden {
            if let Some(path) = graph.path(name, target) {
                let message = format!("{}: {why}", path.join(" -> "));
                findings.push(Finding::new("Cargo.toml", 0, "direction", message));
            }
        }
    }
    findings
}

fn nowhere(manifest: &str, graph: &Graph) -> Vec<Finding> {
    NOWHERE
        .iter()
        .filter(|(name, _)| graph.edges.contains_key(*name))
        .map(|(name, why)| Finding::new(manifest, 0, "provider", format!("{name} is in the graph: {why}")))
        .collect()
}

fn only_through(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, only, why) in ONLY_THROUGH {
        for (parent, edges) in &graph.edges {
            if edges.contains(*name) && parent != only {
                let message = format!("{parent} -> {name}: only {only} may bring it: {why}");
                findings.push(Finding::new("Cargo.toml", 0, "direction", message));
            }
        }
    }
    findings
}

/// Packages read from a path outside the workspace's own folder.
fn outsiders(workspace: &Workspace, manifest: &str, metadata: &Metadata) -> Vec<Finding> {
    let manifest_path = workspace.path(manifest);
    let Some(folder) = manifest_path.parent() else { return Vec::new() };
    metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none() && !package.manifest_path.starts_with(folder))
        .map(|package| {
            let message = format!("it must build without the root's packages, but reaches {}", package.name);
            Finding::new(manifest, 0, "direction", message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a -> b c` on each line; the packages left of an arrow that are ours are the members.
    fn graph(text: &str) -> Graph {
        let mut graph = Graph::default();
        for line in text.lines() {
            let (name, dependencies) = line.trim().split_once(" ->").unwrap();
            let edges = graph.edges.entry(name.to_owned()).or_default();
            edges.extend(dependencies.split_whitespace().map(str::to_owned));
            if MAY_NAME.iter().any(|(ours, _)| *ours == name) {
                graph.members.insert(name.to_owned());
            }
        }
        graph
    }

    fn messages(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_drawn_directions_are_allowed() {
        let good = graph(
            "dags -> serde\nengine -> dags\nplugins -> dags tokio\nexecutor -> plugins engine dags\n\
             migrations -> engine sqlx\nscheduler -> migrations executor\napi -> migrations plugins axum\n",
        );
        assert_eq!(messages(directions(&good)), [""; 0]);
    }

    #[test]
    fn a_step_against_the_direction_is_found() {
        let bad = graph("dags -> engine\nengine -> dags\n");
        assert_eq!(
            messages(directions(&bad)),
            ["dags must not depend on engine (ARCHITECTURE.md, \"Crates\")"]
        );
    }

    #[test]
    fn a_forbidden_package_is_found_with_the_way_to_it() {
        let bad = graph("dags -> notes\nnotes -> web\nweb -> tokio\ntokio ->\n");
        assert_eq!(
            messages(directions(&bad)),
            ["dags -> notes -> web -> tokio: dags is pure: no clock, network, database or runtime"]
        );
    }

    #[test]
    fn workers_never_reach_the_database() {
        let bad = graph("executor -> helper\nhelper -> migrations\nmigrations ->\n");
        let messages = messages(directions(&bad));
        assert_eq!(messages, ["executor -> helper -> migrations: no database credentials on workers"]);
    }

    #[test]
    fn a_second_tls_library_is_found() {
        let bad = graph("plugins -> lapin\nlapin -> aws-lc-rs\naws-lc-rs ->\n");
        assert_eq!(
            messages(nowhere("Cargo.toml", &bad)),
            ["aws-lc-rs is in the graph: the one rustls provider is ring"]
        );
    }

    #[test]
    fn rhai_comes_through_casbin_only() {
        assert_eq!(only_through(&graph("casbin -> rhai\nrhai ->\n")), []);
        let findings = messages(only_through(&graph("casbin -> rhai\nplugins -> rhai\nrhai ->\n")));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("plugins -> rhai: only casbin may bring it"));
    }
}
