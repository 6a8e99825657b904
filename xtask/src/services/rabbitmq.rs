//! RabbitMQ: a node of our own, listening on loopback ports that were free.
//!
//! Debian's wrapper script always uses /var/lib/rabbitmq, so the server's own script is started, as the user `rabbitmq` and
//! with every folder in ours. The node is called `...@localhost`, whatever the machine is called. It has its own epmd,
//! Erlang's register of nodes, on a port of its own: the usual one is shared by everyone on the machine and outlives
//! whoever started it. The URL's user may make virtual hosts through the management interface; every test has one of
//! its own.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::services::machine::{User, free_port, install, processes, random_password, signal_all, text_of};
use crate::services::place::Place;

/// How long the server may take until it answers.
const READY_SECONDS: &str = "90";

const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// What tests need to find the server.
pub(crate) struct Urls {
    /// The broker, without a virtual host.
    pub(crate) amqp: String,
    /// The management interface, with the user.
    pub(crate) management: String,
}

/// Starts the server unless it runs.
pub(crate) fn up(place: &Place) -> Result<Urls> {
    if !programs().join("rabbitmq-server").is_file() {
        install("rabbitmq-server", "RabbitMQ")?;
    }
    if let Ok(text) = std::fs::read_to_string(place.url_file())
        && is_running(place)?
    {
        return parse(&text);
    }
    stop(place)?;
    let user = User::named("rabbitmq")?;
    place.make_for(user.id)?;
    let password = random_password()?;
    let ports =
        Ports { amqp: free_port()?, management: free_port()?, dist: free_port()?, epmd: free_port()? };
    write_settings(place, &user, &ports, &password)?;
    start(place, &user)?;
    let text = format!(
        "amqp://updraft:{password}@127.0.0.1:{}\nhttp://updraft:{password}@127.0.0.1:{}\n",
        ports.amqp, ports.management
    );
    Place::write_secret(&place.url_file(), &text)?;
    parse(&text)
}

/// Stops the server and its epmd if they run. Data is not kept, so they need not shut down in order.
pub(crate) fn down(place: &Place) -> Result<()> {
    stop(place)
}

/// Sends a signal to the server and all of its helpers.
pub(crate) fn hit(place: &Place, signal: Signal) -> Result<()> {
    signal_all(signal, || running(place))
}

/// Starts the server that was killed again, with its data and at its ports.
pub(crate) fn revive(place: &Place) -> Result<()> {
    ensure!(place.url_file().is_file(), "there is no RabbitMQ to be started again");
    stop(place)?;
    match std::fs::remove_file(pid_file(place)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("failed to remove RabbitMQ's pid file");
        }
        _ => {}
    }
    start(place, &User::named("rabbitmq")?)
}

struct Ports {
    amqp: u16,
    management: u16,
    dist: u16,
    epmd: u16,
}

fn parse(text: &str) -> Result<Urls> {
    let mut lines = text.lines().map(str::to_owned);
    let (Some(amqp), Some(management)) = (lines.next(), lines.next()) else {
        bail!("the file with RabbitMQ's URLs is damaged: run `cargo xtask services down rabbitmq`");
    };
    Ok(Urls { amqp, management })
}

fn programs() -> PathBuf {
    PathBuf::from(PROGRAMS)
}

/// The node's name. Two nodes of one name would not start with one epmd; ours has its own.
const NODE: &str = "updraft@localhost";
/// Loopback only, and schedulers that sleep instead of spinning while they wait: the cores are shared with what is tested.
const ERL_ARGS: &str = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none";

fn write_settings(place: &Place, user: &User, ports: &Ports, password: &str) -> Result<()> {
    let folder = place.folder();
    for name in ["data", "plugins"] {
        let path = folder.join(name);
        std::fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        user.give(&path)?;
    }
    let config = format!(
        "listeners.tcp.default = 127.0.0.1:{}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n\
         default_user = updraft\ndefault_pass = {password}\nloopback_users = none\n\
         disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 512MB\n",
        ports.amqp, ports.management
    );
    let environment = format!(
        "ERL_EPMD_PORT={}\nERL_EPMD_ADDRESS=127.0.0.1\nRABBITMQ_DIST_PORT={}\n",
        ports.epmd, ports.dist
    );
    for (name, text) in [
        ("rabbitmq.conf", config.as_str()),
        ("enabled_plugins", "[rabbitmq_management].\n"),
        ("ports", environment.as_str()),
    ] {
        let path = folder.join(name);
        Place::write_secret(&path, text)?;
        user.give(&path)?;
    }
    Ok(())
}

fn pid_file(place: &Place) -> PathBuf {
    place.folder().join("pid")
}

/// A program of the server with its environment.
fn command(place: &Place, user: &User, program: &Path) -> Result<Command> {
    let folder = place.folder();
    let ports = folder.join("ports");
    let ports =
        std::fs::read_to_string(&ports).with_context(|| format!("failed to read {}", ports.display()))?;
    let pairs = |name: &str, value: &Path| format!("{name}={}", value.display());
    // Whoever switches users sets HOME anew, so the environment is given behind that.
    let mut command = user.command(Path::new("/usr/bin/env"));
    command
        .arg("-i")
        .args(ports.lines())
        .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "RABBITMQ_LOGS=-"])
        .arg(format!("RABBITMQ_NODENAME={NODE}"))
        .arg(pairs("HOME", folder))
        .arg(pairs("RABBITMQ_CONFIG_FILE", &folder.join("rabbitmq")))
        .arg(pairs("RABBITMQ_ENABLED_PLUGINS_FILE", &folder.join("enabled_plugins")))
        .arg(pairs("RABBITMQ_MNESIA_BASE", &place.data()))
        .arg(pairs("RABBITMQ_PLUGINS_EXPAND_DIR", &folder.join("plugins")))
        .arg(pairs("RABBITMQ_LOG_BASE", folder))
        .arg(pairs("RABBITMQ_PID_FILE", &pid_file(place)))
        .arg(format!("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={ERL_ARGS}"))
        .arg(program)
        .current_dir(folder);
    Ok(command)
}

fn start(place: &Place, user: &User) -> Result<()> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(place.log());
    let log = log.with_context(|| format!("failed to open {}", place.log().display()))?;
    let errors = log.try_clone().context("failed to share the log")?;
    // A group of its own, so that whoever ends this program doesn't end the server.
    command(place, user, &programs().join("rabbitmq-server"))?
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .context("failed to start rabbitmq-server")?;
    let output = command(place, user, &programs().join("rabbitmqctl"))?
        .args(["-n", NODE, "wait", "--timeout", READY_SECONDS])
        .arg(pid_file(place))
        .output()
        .context("failed to start rabbitmqctl")?;
    if !output.status.success() {
        let log = std::fs::read_to_string(place.log()).unwrap_or_default();
        stop(place)?;
        bail!("RabbitMQ did not start:\n{}{log}", text_of(&output));
    }
    Ok(())
}

/// Processes that were started with our folder as their home: the server, its helpers, its epmd. Whoever switched users for them
/// has it among its arguments only; it stops itself when they are paused.
fn running(place: &Place) -> Result<Vec<Pid>> {
    let mark = format!("HOME={}", place.folder().display());
    processes(|pid| {
        ["environ", "cmdline"].iter().any(|of| {
            let words = std::fs::read(format!("/proc/{pid}/{of}")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
        })
    })
}

fn is_running(place: &Place) -> Result<bool> {
    let Ok(pid) = std::fs::read_to_string(pid_file(place)) else { return Ok(false) };
    let pid: i32 = pid.trim().parse().unwrap_or(0);
    Ok(running(place)?.iter().any(|known| known.as_raw_pid() == pid))
}

fn stop(place: &Place) -> Result<()> {
    if place.folder().is_dir() { hit(place, Signal::KILL) } else { Ok(()) }
}
