//! The program with all of Kubernetes' servers, built once per version into `~/.cache/updraft-tests`: a dozen minutes of one core.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::say;
use crate::services::machine::text_of;
use crate::tools;
use crate::workspace::Workspace;

/// The version, as in `tests/kubernetes/go.mod`.
const VERSION: &str = "1.36.2";

/// The program's path; it is built now if it isn't there yet. It has the lowest priority, so that what is built and measured
/// beside it isn't held up much.
pub(crate) fn program(workspace: &Workspace) -> Result<PathBuf> {
    let folder = tools::cache("updraft-tests")?.join(format!("kubernetes-{VERSION}"));
    let program = folder.join("kubernetes");
    if program.is_file() {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("failed to make the lock of the tests' cache")?;
    lock.lock().context("failed to lock the tests' cache")?;
    if program.is_file() {
        return Ok(program);
    }
    say(&format!("building Kubernetes {VERSION} (once; up to a quarter of an hour)"));
    let new = folder.join("new");
    let (major, minor) = VERSION.split_once('.').context("invariant: a version has dots")?;
    let minor = minor.split('.').next().unwrap_or_default();
    let set = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let flags = format!(
        "-s -w {} {} {}",
        set("gitVersion", &format!("v{VERSION}")),
        set("gitMajor", major),
        set("gitMinor", minor)
    );
    let output = Command::new("nice")
        .args(["-n", "19", "go", "build", "-p", "2", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(&new)
        .arg(".")
        .current_dir(workspace.path("tests/kubernetes"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .output()
        .context("failed to start go: install Go 1.26")?;
    ensure!(output.status.success(), "go build of Kubernetes failed:\n{}", text_of(&output));
    std::fs::rename(&new, &program).context("failed to put Kubernetes' program in its place")?;
    Ok(program)
}
