//! `make bench`: the figures of BENCHMARKS.md.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Ending};
use crate::services::{self, Purpose, Service};
use crate::workspace::{Metadata, Workspace};

const LIMIT: Duration = Duration::from_hours(2);

/// Runs every benchmark of the workspace in the optimised profile. Those that need PostgreSQL get one
/// that forces commits to disk.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Result<bool> {
    let names = bench_names(&workspace.metadata("Cargo.toml")?);
    ensure!(!names.is_empty(), "no package of the workspace has a benchmark");
    let folder = workspace.path("target/gate");
    std::fs::create_dir_all(&folder).context("failed to make target/gate")?;
    let variables = services::up(workspace, Service::Postgres, Purpose::Benches)?;
    let mut command = workspace.cargo(&["bench", "--workspace", "--locked"]);
    for name in &names {
        command.args(["--bench", name]);
    }
    if let Some(filter) = filter {
        command.args(["--", filter]);
    }
    command.envs(variables);
    let ending = process::stream(&mut command, &folder.join("bench.log"), None, LIMIT);
    services::down(workspace, Service::Postgres, Purpose::Benches)?;
    Ok(ending? == Ending::Success)
}

fn bench_names(metadata: &Metadata) -> Vec<String> {
    metadata
        .packages
        .iter()
        .filter(|package| metadata.workspace_members.contains(&package.id))
        .flat_map(|package| &package.targets)
        .filter(|target| target.kind.iter().any(|kind| kind == "bench"))
        .map(|target| target.name.clone())
        .collect()
}
