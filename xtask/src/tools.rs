//! Programs of the gate that the Rust toolchain does not bring: built once, kept per version in
//! `~/.cache/updraft-tools`, outside every checkout.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process::say;
use crate::workspace::Workspace;

/// Built in about a minute on two cores.
const CARGO_DENY: &str = "0.20.2";

/// The path of cargo-deny, which is built now if this version of it is not there yet.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let folder = cache()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("failed to make the lock of the tools' cache")?;
    lock.lock().context("failed to lock the tools' cache")?;
    if program.is_file() {
        return Ok(program);
    }
    say(&format!("building cargo-deny {CARGO_DENY} (once; about a minute)"));
    let build = folder.join("build");
    // Unoptimised: it runs for two seconds, building it optimised takes minutes longer.
    let output = workspace
        .cargo(&["install", "cargo-deny", "--locked", "--debug", "--version", CARGO_DENY, "--root"])
        .arg(&folder)
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .output()
        .context("failed to start cargo install")?;
    std::fs::remove_dir_all(&build).context("failed to remove the build folder of cargo-deny")?;
    ensure!(
        output.status.success(),
        "cargo install cargo-deny failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(program)
}

fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("updraft-tools"))
}
