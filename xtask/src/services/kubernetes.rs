//! Kubernetes: etcd, the API server, controller manager and scheduler, and one node, this machine, whose kubelet really runs pods
//! with containerd and runc.
//!
//! | part | from |
//! | --- | --- |
//! | etcd, containerd, runc, CNI plugins | the system's packages |
//! | Kubernetes itself | one program built from the Go module `tests/kubernetes`, see [`build`] |
//! | images | made of this machine's own files, see [`image`] |
//!
//! Everything listens on loopback ports that were free. Pods have a network of their own, a bridge of this machine, over which they
//! reach only the machine. All processes but those in containers carry our folder in their environment, and those in containers are
//! in a cgroup of ours: so nothing is left when it is stopped. It needs root.

mod build;
mod image;
mod node;
mod plane;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::process::say;
use crate::services::machine::{install_all, processes, signal_all, text_of};
use crate::services::place::Place;
use crate::workspace::Workspace;

pub(crate) use self::build::program;

/// Marks every process of a cluster; the value is its folder.
const MARK: &str = "UPDRAFT_SERVICE_HOME";

/// How long a part may take until it answers.
const READY: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);

/// Programs of the system's packages.
const PACKAGES: [(&str, &str); 6] = [
    ("/usr/bin/etcd", "etcd-server"),
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/bin/busybox", "busybox-static"),
    // The kubelet looks for it.
    ("/usr/sbin/iptables", "iptables"),
];

/// What tests need to find the cluster.
pub(crate) struct Found {
    /// The kubeconfig of somebody who may do everything.
    pub(crate) kubeconfig: PathBuf,
    /// The address by which pods reach this machine.
    pub(crate) machine: String,
}

/// Starts the cluster unless it runs.
pub(crate) fn up(workspace: &Workspace, place: &Place) -> Result<Found> {
    ensure!(rustix::process::getuid().is_root(), "a kubelet needs root: run this as root");
    if place.url_file().is_file() && plane::answers(place) {
        return found(place);
    }
    let packages: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !Path::new(program).exists()).map(|(_, name)| *name).collect();
    if !packages.is_empty() {
        install_all(&packages, "what a Kubernetes node is made of")?;
    }
    let program = program(workspace)?;
    down(place)?;
    place.remove()?;
    place.make_for(0)?;
    let started = Instant::now();
    let network = node::Network::of(place);
    plane::start(place, &program, &network)?;
    node::start(place, &program, &network)?;
    say(&format!("Kubernetes is ready after {:.1} s", started.elapsed().as_secs_f32()));
    Place::write_secret(&place.url_file(), &format!("{}\n", network.machine()))?;
    found(place)
}

fn found(place: &Place) -> Result<Found> {
    let machine =
        std::fs::read_to_string(place.url_file()).context("failed to read the cluster's address")?;
    Ok(Found { kubeconfig: plane::kubeconfig(place, "admin"), machine: machine.trim().to_owned() })
}

/// Stops everything, pods and all.
pub(crate) fn down(place: &Place) -> Result<()> {
    if !place.folder().is_dir() {
        return Ok(());
    }
    // The servers first, so that nothing is started again.
    hit(place, Signal::KILL)?;
    node::clean(place)
}

/// Sends a signal to all servers, not to what runs in pods.
pub(crate) fn hit(place: &Place, signal: Signal) -> Result<()> {
    let mark = format!("{MARK}={}", place.folder().display());
    signal_all(signal, || {
        processes(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
        })
    })
}

/// Makes the image `updraft.test/updraft:dev` of the programs that were built, and gives it to the node.
pub(crate) fn load_updraft(workspace: &Workspace, place: &Place) -> Result<()> {
    ensure!(place.url_file().is_file(), "the cluster doesn't run: `cargo xtask services up kubernetes`");
    let program = workspace.binary("updraft-pod");
    ensure!(program.is_file(), "{} isn't built: `cargo xtask build`", program.display());
    let small = place.folder().join("updraft-pod");
    succeed(Command::new("strip").arg("--strip-all").arg("-o").arg(&small).arg(&program))?;
    // As in an ordinary image, where the C library's own helpers are.
    image::load(place, node::TASKS, &image::TOOLS, &[], &[], &[&program])?;
    let files = [(small, PathBuf::from("/usr/local/bin/updraft-pod"))];
    image::load(place, "updraft.test/updraft:dev", &[], &files, &[], &[])
}

/// Starts a part that runs until the cluster is stopped.
fn spawn(place: &Place, name: &str, command: &mut Command) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(place.log());
    let log = log.with_context(|| format!("failed to open {}", place.log().display()))?;
    let errors = log.try_clone().context("failed to share a log")?;
    std::os::unix::process::CommandExt::process_group(command, 0)
        .current_dir(place.folder())
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", place.folder())
        .env(MARK, place.folder())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("failed to start {name}"))
}

/// Waits until a part is ready; says what it wrote if it never is.
fn wait(place: &Place, name: &str, mut is_ready: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_ready() {
        if started.elapsed() > READY {
            let log = std::fs::read_to_string(place.log()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!("{name} isn't ready after {} s:\n{}", READY.as_secs(), tail.join("\n"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Runs a program that must succeed.
fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("failed to start {program}"))?;
    ensure!(output.status.success(), "{program} failed:\n{}", text_of(&output));
    Ok(())
}
