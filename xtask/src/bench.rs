//! `make bench`: the figures of BENCHMARKS.md.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Ending};
use crate::services::{self, Purpose, Service, Variable};
use crate::workspace::{Metadata, Workspace};

const LIMIT: Duration = Duration::from_hours(2);

/// What benchmarks of a database look for; they leave PostgreSQL out without it.
const POSTGRES_URL: &str = "UPDRAFT_BENCH_POSTGRES_URL";

/// The servers that they need, which force what is acknowledged to disk.
const SERVERS: [Service; 2] = [Service::Postgres, Service::Rabbitmq];

/// Runs the benchmarks of the workspace in the optimised profile, or the one program of that name. `arguments` are for
/// the programs.
pub(crate) fn run(workspace: &Workspace, program: Option<&str>, arguments: &[String]) -> Result<bool> {
    let mut names = bench_names(&workspace.metadata("Cargo.toml")?);
    ensure!(!names.is_empty(), "no package of the workspace has a benchmark");
    if let Some(program) = program {
        ensure!(
            names.iter().any(|name| name == program),
            "there is no benchmark {program:?}; there are {}",
            names.join(", ")
        );
        names.retain(|name| name == program);
    }
    let folder = workspace.path("target/gate");
    std::fs::create_dir_all(&folder).context("failed to make target/gate")?;
    let log = folder.join("bench.log");
    let benches: Vec<&str> = names.iter().flat_map(|name| ["--bench", name]).collect();
    // Together, or the program under test is built with other features than what measures it.
    let mut build = workspace.cargo(&["build", "--profile", "bench", "--workspace", "--locked", "--bins"]);
    if process::stream(build.args(&benches), &log, None, LIMIT)? != Ending::Success {
        return Ok(false);
    }
    let ending = start(workspace).and_then(|variables| {
        let mut command = workspace.cargo(&["bench", "--workspace", "--locked"]);
        command.args(&benches).arg("--").args(arguments).envs(variables);
        process::stream(&mut command, &log, None, LIMIT)
    });
    for service in SERVERS {
        services::down(workspace, service, Purpose::Benches)?;
    }
    Ok(ending? == Ending::Success)
}

/// The environment of the programs.
fn start(workspace: &Workspace) -> Result<Vec<Variable>> {
    let mut variables = Vec::new();
    for service in SERVERS {
        variables.extend(services::up(workspace, service, Purpose::Benches)?);
    }
    let postgres = variables.iter().find(|(name, _)| *name == services::POSTGRES_URL);
    let url = postgres.context("PostgreSQL has no URL")?.1.clone();
    variables.push((POSTGRES_URL, url));
    Ok(variables)
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
