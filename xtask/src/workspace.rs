//! Where things are: the checkout, its cargo workspaces, and what cargo says about them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The script host, a workspace of its own: it is shipped, and none of the root's packages is in it.
pub(crate) const SCRIPT_HOST: &str = "dags/script-host/Cargo.toml";
/// The fuzz targets, a workspace of its own: they reach both the script host and `dags`.
pub(crate) const FUZZ: &str = "dags/fuzz/Cargo.toml";

/// Workspaces that are kept out of the root's so that features of shared dependencies are not united
/// with the root's (ARCHITECTURE.md, "Scripts run outside").
pub(crate) const OWN_WORKSPACES: &[&str] = &[SCRIPT_HOST, FUZZ];

/// A checkout of the repository.
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package has no parent folder")?
            .to_path_buf();
        ensure!(root.join("Cargo.toml").is_file(), "{} is gone: build xtask again", root.display());
        Ok(Self { root })
    }

    /// A path inside the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Where cargo puts the debug binaries of all workspaces.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.path("target/debug").join(name)
    }

    /// A cargo command in the root folder. Every workspace builds into the root's `target`, so equal
    /// dependencies are compiled once and helper programs land beside `updraft`.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&self.root).env("CARGO_TARGET_DIR", self.path("target"));
        // Of whoever started us by `cargo run`. Build scripts that look at them would run again, and half of the workspace with
        // them, whenever cargo is called in the other way.
        for (name, _) in std::env::vars_os() {
            let is_of_package = name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
            });
            if is_of_package {
                command.env_remove(&name);
            }
        }
        command
    }

    /// What cargo knows about a workspace and its whole dependency graph on this machine's platform.
    pub(crate) fn metadata(&self, manifest: &str) -> Result<Metadata> {
        let host = host_triple()?;
        let output = self
            .cargo(&["metadata", "--format-version=1", "--locked", "--filter-platform", &host])
            .args(["--manifest-path", manifest])
            .output()
            .context("failed to start cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed for {manifest}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("failed to read the answer of cargo metadata")
    }
}

pub(crate) fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("failed to start rustc")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}

/// The part of `cargo metadata` that the checks read.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Resolve,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `None` for a package that is read from a path.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) targets: Vec<Target>,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
pub(crate) struct NodeDependency {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
pub(crate) struct DependencyKind {
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}
