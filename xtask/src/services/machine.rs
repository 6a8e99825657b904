//! The machine that servers run on: users, packages, ports.
//!
//! Servers refuse to run as root, so root starts each as the user of its package.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::process::say;

/// How often processes that are killed are looked for again.
const KILL_TRIES: u32 = 250;

/// Who runs a server.
pub(crate) struct User {
    pub(crate) id: u32,
    /// The user to switch to; none if we are somebody already.
    switch: Option<&'static str>,
}

impl User {
    /// The user of that name, if we are root; otherwise ourselves.
    pub(crate) fn named(name: &'static str) -> Result<Self> {
        let own = rustix::process::getuid();
        if !own.is_root() {
            return Ok(Self { id: own.as_raw(), switch: None });
        }
        let output = Command::new("id").args(["-u", name]).output().context("failed to start id")?;
        let id = String::from_utf8_lossy(&output.stdout).trim().parse();
        let id = id.with_context(|| format!("there is no user {name}: install the system's package"))?;
        Ok(Self { id, switch: Some(name) })
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        match self.switch {
            Some(name) => {
                let mut command = Command::new("runuser");
                command.args(["-u", name, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    /// Makes the user the owner of a file.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        std::os::unix::fs::chown(path, Some(self.id), None)
            .with_context(|| format!("failed to give {} to user {}", path.display(), self.id))
    }
}

/// Installs a package of the system.
pub(crate) fn install(package: &str, called: &str) -> Result<()> {
    install_all(&[package], called)
}

/// Installs packages of the system.
pub(crate) fn install_all(packages: &[&str], called: &str) -> Result<()> {
    ensure!(
        rustix::process::getuid().is_root(),
        "{called} is missing: run `apt-get install {}` as root, then try again",
        packages.join(" ")
    );
    say(&format!("installing {called} with apt-get"));
    let install = [&["install", "-y", "-q", "--no-install-recommends"][..], packages].concat();
    for arguments in [&["update", "-q"][..], &install] {
        let output = Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .with_context(|| format!("failed to start apt-get: install {called} by hand"))?;
        ensure!(output.status.success(), "apt-get {} failed:\n{}", arguments.join(" "), text_of(&output));
    }
    Ok(())
}

/// A port of the loopback interface that nobody has at present.
pub(crate) fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free loopback port")?;
    Ok(listener.local_addr().context("failed to read the port that was bound")?.port())
}

/// Sends a signal to a process; one that has ended is fine.
pub(crate) fn signal(pid: Pid, signal: Signal) -> Result<()> {
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("failed to send {signal:?} to process {pid}")),
    }
}

/// Sends a signal to whatever `find` finds; those that are to be killed are waited for.
pub(crate) fn signal_all(sent: Signal, find: impl Fn() -> Result<Vec<Pid>>) -> Result<()> {
    for _ in 0..KILL_TRIES {
        let found = find()?;
        for pid in &found {
            signal(*pid, sent)?;
        }
        if sent != Signal::KILL || found.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("processes of a server don't end")
}

/// The processes for which `ours` holds. What has just ended can't be asked.
pub(crate) fn processes(ours: impl Fn(Pid) -> bool) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("failed to read /proc")? {
        let name = entry.context("failed to read /proc")?.file_name();
        let pid = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        found.extend(pid.filter(|pid| ours(*pid)));
    }
    Ok(found)
}

/// A password that nobody guesses.
pub(crate) fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("failed to read /dev/urandom")?;
    Ok(bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

/// What a program printed.
pub(crate) fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, two) = (random_password().unwrap(), random_password().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }
}
