//! PostgreSQL: a cluster of our own, listening on a loopback port that was free.
//!
//! The server refuses to run as root, so root starts it as the user `postgres`. Connections need a
//! password, because every user of the machine can reach a loopback port and a superuser of PostgreSQL
//! can run programs.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

use crate::process::say;
use crate::services::Durability;
use crate::services::place::Place;

/// How long the server may take until it answers.
const READY_SECONDS: &str = "60";

/// Another program can take the free port between our look and the server's start.
const START_TRIES: usize = 5;

/// Starts the server unless it runs, and returns the URL of its superuser.
pub(crate) fn up(place: &Place, durability: Durability) -> Result<String> {
    let programs = find_or_install()?;
    if let Ok(url) = std::fs::read_to_string(place.url_file())
        && is_running(&programs, place)?
    {
        return Ok(url);
    }
    stop_if_running(&programs, place)?;
    let user = User::for_server()?;
    place.make_for(user.id)?;
    let password = random_password()?;
    initialize(&programs, place, &user, &password)?;
    let port = start(&programs, place, &user, durability)?;
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
    ensure!(output.status.success(), "initdb failed:\n{}", both(&output));
    Ok(())
}

fn start(programs: &Path, place: &Place, user: &User, durability: Durability) -> Result<u16> {
    let mut last = String::new();
    for _ in 0..START_TRIES {
        let port = free_port()?;
        let output = user
            .command(&programs.join("pg_ctl"))
            .args(["start", "--wait", "--timeout", READY_SECONDS, "--pgdata"])
            .arg(place.data())
            .arg("--log")
            .arg(place.log())
            .args(["--options", &settings(port, durability)])
            .current_dir(place.folder())
            .output()
            .context("failed to start pg_ctl")?;
        if output.status.success() {
            return Ok(port);
        }
        let log = std::fs::read_to_string(place.log()).unwrap_or_default();
        last = format!("{}{log}", both(&output));
        if !last.contains("Address already in use") {
            break;
        }
    }
    bail!("PostgreSQL did not start:\n{last}")
}

fn settings(port: u16, durability: Durability) -> String {
    let mut settings =
        format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200");
    if durability == Durability::Volatile {
        settings.push_str(" -c fsync=off -c full_page_writes=off -c synchronous_commit=off");
    }
    settings
}

fn is_running(programs: &Path, place: &Place) -> Result<bool> {
    if !place.data().is_dir() {
        return Ok(false);
    }
    let output = User::for_server()?
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
    let output = User::for_server()?
        .command(&programs.join("pg_ctl"))
        .args(["stop", "--mode=immediate", "--wait", "--pgdata"])
        .arg(place.data())
        .current_dir("/")
        .output()
        .context("failed to start pg_ctl")?;
    ensure!(output.status.success(), "failed to stop PostgreSQL:\n{}", both(&output));
    Ok(())
}

fn find_or_install() -> Result<PathBuf> {
    if let Some(programs) = find()? {
        return Ok(programs);
    }
    install()?;
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

fn install() -> Result<()> {
    ensure!(
        rustix::process::getuid().is_root(),
        "PostgreSQL is missing: run `apt-get install postgresql` as root, then try again"
    );
    say("installing PostgreSQL with apt-get");
    for arguments in
        [&["update", "-q"][..], &["install", "-y", "-q", "--no-install-recommends", "postgresql"][..]]
    {
        let output = Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("failed to start apt-get: install PostgreSQL 15 or newer by hand")?;
        ensure!(output.status.success(), "apt-get {} failed:\n{}", arguments.join(" "), both(&output));
    }
    Ok(())
}

/// Who runs the server.
struct User {
    id: u32,
    switch: bool,
}

impl User {
    fn for_server() -> Result<Self> {
        let own = rustix::process::getuid();
        if !own.is_root() {
            return Ok(Self { id: own.as_raw(), switch: false });
        }
        let output = Command::new("id").args(["-u", "postgres"]).output().context("failed to start id")?;
        let id = String::from_utf8_lossy(&output.stdout).trim().parse();
        let id = id.context("there is no user postgres: install PostgreSQL by the system's packages")?;
        Ok(Self { id, switch: true })
    }

    fn command(&self, program: &Path) -> Command {
        if self.switch {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        }
    }
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free loopback port")?;
    Ok(listener.local_addr().context("failed to read the port that was bound")?.port())
}

fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("failed to read /dev/urandom")?;
    Ok(bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_volatile_server_gives_up_durability() {
        assert!(settings(5000, Durability::Volatile).contains("fsync=off"));
        let durable = settings(5000, Durability::Durable);
        assert!(!durable.contains("fsync") && !durable.contains("synchronous_commit"), "{durable}");
    }

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, two) = (random_password().unwrap(), random_password().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }
}
