//! PostgreSQL: a cluster of our own, listening on a loopback port that was free.
//!
//! The server refuses to run as root, so root starts it as the user `postgres`. Connections need a
//! password, because every user of the machine can reach a loopback port and a superuser of PostgreSQL
//! can run programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::services::Purpose;
use crate::services::machine::{User, free_port, install, processes, random_password, signal_all, text_of};
use crate::services::place::Place;

/// How long the server may take until it answers.
const READY_SECONDS: &str = "60";

/// Another program can take the free port between our look and the server's start.
const START_TRIES: usize = 5;

/// Starts the server unless it runs, and returns the URL of its superuser.
pub(crate) fn up(place: &Place, purpose: Purpose) -> Result<String> {
    let programs = find_or_install()?;
    if let Ok(url) = std::fs::read_to_string(place.url_file())
        && is_running(&programs, place)?
    {
        return Ok(url);
    }
    stop_if_running(&programs, place)?;
    let user = User::named("postgres")?;
    place.make_for(user.id)?;
    let password = random_password()?;
    initialize(&programs, place, &user, &password)?;
    let port = start(&programs, place, &user, None, purpose)?;
    let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
    Place::write_secret(&place.url_file(), &url)?;
    Ok(url)
}

/// Stops the server if it runs. Data is not kept, so it need not shut down in order.
pub(crate) fn down(place: &Place) -> Result<()> {
    if place.data().is_dir() {
        let programs = find()?.context("PostgreSQL was uninstalled while a server of ours was running")?;
        stop_if_running(&programs, place)?;
    }
    Ok(())
}

/// Sends a signal to the server and all of its processes.
pub(crate) fn hit(place: &Place, signal: Signal) -> Result<()> {
    let data = place.data();
    // Every process of the server works in the folder of its data.
    let at_home = |pid: Pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data);
    signal_all(signal, || processes(at_home))
}

/// Starts the server that was killed again, with its data and at its port.
pub(crate) fn revive(place: &Place, purpose: Purpose) -> Result<()> {
    let url =
        std::fs::read_to_string(place.url_file()).context("there is no PostgreSQL to be started again")?;
    let port =
        url.rsplit(':').next().and_then(|rest| rest.split('/').next()).and_then(|port| port.parse().ok());
    let port: u16 = port.context("the file with PostgreSQL's URL is damaged")?;
    hit(place, Signal::KILL)?;
    // It names a process that is dead and perhaps not waited for yet, which PostgreSQL takes for one that runs.
    let lock = place.data().join("postmaster.pid");
    if lock.exists() {
        std::fs::remove_file(&lock).with_context(|| format!("failed to remove {}", lock.display()))?;
    }
    let programs = find()?.context("PostgreSQL was uninstalled")?;
    start(&programs, place, &User::named("postgres")?, Some(port), purpose).map(drop)
}

fn initialize(programs: &Path, place: &Place, user: &User, password: &str) -> Result<()> {
    let password_file = place.folder().join("password");
    Place::write_secret(&password_file, password)?;
    std::os::unix::fs::chown(&password_file, Some(user.id), None)
        .context("failed to hand the password file to the server's user")?;
    let output = user
        .command(&programs.join("initdb"))
        .arg("--pgdata")
        .arg(place.data())
        .args(["--username=postgres", "--auth=password", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
        .arg(format!("--pwfile={}", password_file.display()))
        .current_dir(place.folder())
        .output()
        .context("failed to start initdb")?;
    std::fs::remove_file(&password_file).context("failed to remove the password file")?;
    ensure!(output.status.success(), "initdb failed:\n{}", text_of(&output));
    Ok(())
}

/// Starts the server at that port, or at a free one.
fn start(programs: &Path, place: &Place, user: &User, port: Option<u16>, purpose: Purpose) -> Result<u16> {
    let mut last = String::new();
    for _ in 0..START_TRIES {
        let port = port.map_or_else(free_port, Ok)?;
        let output = user
            .command(&programs.join("pg_ctl"))
            .args(["start", "--wait", "--timeout", READY_SECONDS, "--pgdata"])
            .arg(place.data())
            .arg("--log")
            .arg(place.log())
            .args(["--options", &settings(port, purpose)])
            .current_dir(place.folder())
            .output()
            .context("failed to start pg_ctl")?;
        if output.status.success() {
            return Ok(port);
        }
        let log = std::fs::read_to_string(place.log()).unwrap_or_default();
        last = format!("{}{log}", text_of(&output));
        if !last.contains("Address already in use") {
            break;
        }
    }
    bail!("PostgreSQL did not start:\n{last}")
}

fn settings(port: u16, purpose: Purpose) -> String {
    let mut settings =
        format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200");
    settings.push_str(match purpose {
        Purpose::Tests => " -c fsync=off -c full_page_writes=off -c synchronous_commit=off",
        Purpose::Benches => "",
        // Processes are killed, never the machine: what was handed to the kernel is safe.
        Purpose::Chaos => " -c fsync=off -c full_page_writes=off",
    });
    settings
}

fn is_running(programs: &Path, place: &Place) -> Result<bool> {
    if !place.data().is_dir() {
        return Ok(false);
    }
    let output = User::named("postgres")?
        .command(&programs.join("pg_ctl"))
        .args(["status", "--pgdata"])
        .arg(place.data())
        .current_dir("/")
        .output()
        .context("failed to start pg_ctl")?;
    Ok(output.status.success())
}

fn stop_if_running(programs: &Path, place: &Place) -> Result<()> {
    if !is_running(programs, place)? {
        return Ok(());
    }
    let output = User::named("postgres")?
        .command(&programs.join("pg_ctl"))
        .args(["stop", "--mode=immediate", "--wait", "--pgdata"])
        .arg(place.data())
        .current_dir("/")
        .output()
        .context("failed to start pg_ctl")?;
    ensure!(output.status.success(), "failed to stop PostgreSQL:\n{}", text_of(&output));
    Ok(())
}

fn find_or_install() -> Result<PathBuf> {
    if let Some(programs) = find()? {
        return Ok(programs);
    }
    install("postgresql", "PostgreSQL")?;
    find()?.context("PostgreSQL was installed, but its programs are not in /usr/lib/postgresql/*/bin")
}

/// The folder with `initdb` and `pg_ctl` of the newest installed version, from 15 on.
fn find() -> Result<Option<PathBuf>> {
    let base = Path::new("/usr/lib/postgresql");
    if base.is_dir() {
        let mut versions = Vec::new();
        for entry in std::fs::read_dir(base).context("failed to list /usr/lib/postgresql")? {
            let name = entry.context("failed to list /usr/lib/postgresql")?.file_name();
            versions.extend(name.to_str().and_then(|version| version.parse::<u32>().ok()));
        }
        versions.sort_unstable();
        for version in versions.into_iter().rev().filter(|version| *version >= 15) {
            let programs = base.join(version.to_string()).join("bin");
            if programs.join("initdb").is_file() && programs.join("pg_ctl").is_file() {
                return Ok(Some(programs));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_volatile_server_gives_up_durability() {
        assert!(settings(5000, Purpose::Tests).contains("fsync=off"));
        assert!(!settings(5000, Purpose::Chaos).contains("synchronous_commit"));
        let durable = settings(5000, Purpose::Benches);
        assert!(!durable.contains("fsync") && !durable.contains("synchronous_commit"), "{durable}");
    }
}
