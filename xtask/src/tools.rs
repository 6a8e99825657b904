//! Programs of the gate that the Rust toolchain does not bring: built once, kept per version in
//! `~/.cache/updraft-tools`, outside every checkout.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::tell;
use crate::workspace::Workspace;

/// Built in about a minute on two cores.
const CARGO_DENY: &str = "0.20.2";

/// The path of cargo-deny, which is built now if this version of it is not there yet.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let folder = cache("updraft-tools")?.join(format!("cargo-deny-{CARGO_DENY}"));
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
    tell(&format!("building cargo-deny {CARGO_DENY} (once; about a minute)"));
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

/// Programs that are written in Python, in an environment of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packages {
    /// What they are called here.
    what: &'static str,
    /// The folder in the cache, with every version in it.
    folder: &'static str,
    /// Names and versions.
    packages: &'static [&'static str],
}

/// Airflow's clients, as they are published: the generated one and the command line.
pub(crate) const AIRFLOW_CLIENTS: Packages = Packages {
    what: "Airflow's clients",
    folder: "airflow-clients-3.3.2-0.1.5",
    packages: &["apache-airflow-client==3.3.2", "apache-airflow-ctl==0.1.5"],
};

/// What holds our APIs against their OpenAPI documents.
pub(crate) const SCHEMATHESIS: Packages =
    Packages { what: "schemathesis", folder: "schemathesis-4.32.5", packages: &["schemathesis==4.32.5"] };

/// The Python that has these packages, in an environment that is made now if it isn't there yet.
pub(crate) fn python(Packages { what, folder, packages }: Packages) -> Result<PathBuf> {
    let base = cache("updraft-tools")?;
    let lock = base.join(format!("{folder}.lock"));
    let folder = base.join(folder);
    let python = folder.join("bin/python");
    let done = folder.join("done");
    if done.is_file() {
        return Ok(python);
    }
    std::fs::create_dir_all(&base).with_context(|| format!("failed to make {}", base.display()))?;
    let lock = File::create(lock).context("failed to make the lock of the tools' cache")?;
    lock.lock().context("failed to lock the tools' cache")?;
    if done.is_file() {
        return Ok(python);
    }
    tell(&format!("installing {what} (once; about a minute)"));
    let make = || {
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).output();
        made.is_ok_and(|output| output.status.success())
    };
    if !make() {
        install_venv()?;
        ensure!(make(), "python3 -m venv {} failed even with python3-venv installed", folder.display());
    }
    let output = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(packages)
        .output()
        .context("failed to start pip")?;
    ensure!(
        output.status.success(),
        "pip install {} failed:\n{}",
        packages.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    File::create(&done).with_context(|| format!("failed to mark {what} as installed"))?;
    Ok(python)
}

/// Installs Chromium, if there is no browser of its kind yet.
pub(crate) fn chromium() -> Result<()> {
    let known = ["chromium", "chromium-browser", "google-chrome"];
    if known.iter().any(|name| Path::new("/usr/bin").join(name).exists()) {
        return Ok(());
    }
    install("chromium", "there is no browser for the tests of the console")
}

fn install_venv() -> Result<()> {
    install("python3-venv", "python3 can't make environments")
}

fn install(package: &str, why: &str) -> Result<()> {
    ensure!(
        rustix::process::getuid().is_root(),
        "{why}: run `apt-get install {package}` as root, then try again"
    );
    tell(&format!("installing {package} with apt-get"));
    for arguments in [&["update", "-q"][..], &["install", "-y", "-q", "--no-install-recommends", package][..]]
    {
        let output = Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .with_context(|| format!("failed to start apt-get: install {package} by hand"))?;
        ensure!(
            output.status.success(),
            "apt-get {} failed:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// A folder that all checkouts share, for what is made once.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join(name))
}
