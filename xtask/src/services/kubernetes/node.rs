//! The node: containerd and the kubelet, and what they leave behind.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

use super::{image, plane, spawn, succeed, wait};
use crate::services::machine::{free_port, signal_all};
use crate::services::place::Place;

/// The image of what holds a pod's network.
const PAUSE: &str = "updraft.test/pause:1";
/// The image of ordinary tasks.
pub(super) const TASKS: &str = "updraft.test/tasks:1";

/// The pods' network, apart from those of other checkouts.
pub(super) struct Network {
    /// Distinguishes it.
    n: u8,
}

impl Network {
    pub(super) fn of(place: &Place) -> Self {
        let mut hasher = DefaultHasher::new();
        place.folder().hash(&mut hasher);
        Self { n: (hasher.finish() % 200) as u8 }
    }

    fn pods(&self) -> String {
        format!("10.213.{}.0/24", self.n)
    }

    /// Where this machine is in it.
    pub(super) fn machine(&self) -> String {
        format!("10.213.{}.1", self.n)
    }

    pub(super) fn services(&self) -> String {
        format!("10.214.{}.0/24", self.n)
    }

    fn bridge(&self) -> String {
        format!("updraft{}", self.n)
    }

    fn cgroup(&self) -> String {
        format!("updraft-tests-{}", self.n)
    }
}

/// Where containerd listens.
pub(super) fn socket(place: &Place) -> PathBuf {
    place.folder().join("containerd.sock")
}

/// Starts it and waits until pods can run there.
pub(super) fn start(place: &Place, program: &Path, network: &Network) -> Result<()> {
    let folder = place.folder();
    write_settings(place, network)?;
    // The network plugin makes it with the first pod; tests listen there before that.
    let bridge = network.bridge();
    let address = format!("{}/24", network.machine());
    succeed(Command::new("ip").args(["link", "add", &bridge, "type", "bridge"]))?;
    succeed(Command::new("ip").args(["address", "add", &address, "dev", &bridge]))?;
    succeed(Command::new("ip").args(["link", "set", &bridge, "up"]))?;
    spawn(
        place,
        "containerd",
        Command::new("/usr/bin/containerd").arg("--config").arg(folder.join("containerd.toml")),
    )?;
    wait(place, "containerd", || {
        let version = Command::new("ctr").arg("--address").arg(socket(place)).arg("version").output();
        version.is_ok_and(|output| output.status.success())
    })?;
    let busybox = [(PathBuf::from("/usr/bin/busybox"), PathBuf::from("/bin/busybox"))];
    image::load(place, PAUSE, &[], &busybox, &["/bin/busybox", "sleep", "2147483647"], &[])?;
    image::load(place, TASKS, &image::TOOLS, &[], &[], &[])?;
    for cgroup in cgroups(network) {
        std::fs::create_dir_all(&cgroup).with_context(|| format!("failed to make {}", cgroup.display()))?;
        adopt_cpus(&cgroup);
    }
    spawn(
        place,
        "kubelet",
        Command::new(program)
            .arg("kubelet")
            .arg(format!("--config={}", folder.join("kubelet.yaml").display()))
            .arg(format!("--kubeconfig={}", plane::kubeconfig(place, "kubelet").display()))
            .arg(format!("--root-dir={}", folder.join("kubelet").display()))
            .arg(format!("--cert-dir={}", folder.join("kubelet-certificates").display()))
            .args(["--hostname-override=localhost", "--v=1"]),
    )?;
    wait(place, "kubelet", || {
        let node = plane::get(place, "/api/v1/nodes/localhost").unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&node).is_ok_and(|node| {
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
    })
}

/// In the first version of cgroups a group without CPUs takes no process.
fn adopt_cpus(cgroup: &Path) {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let Some(parent) = cgroup.parent() else { continue };
        if let Ok(value) = std::fs::read_to_string(parent.join(name)) {
            // Other controllers have no such file.
            std::fs::write(cgroup.join(name), value).ok();
        }
    }
}

fn write_settings(place: &Place, network: &Network) -> Result<()> {
    let folder = place.folder();
    let shown = folder.display();
    let socket = socket(place);
    let socket = socket.display();
    let containerd = format!(
        "version = 2\nroot = \"{shown}/containerd\"\nstate = \"{shown}/state\"\n\
         disabled_plugins = [\"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.btrfs\", \
         \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", \
         \"io.containerd.tracing.processor.v1.otlp\", \"io.containerd.internal.v1.tracing\"]\n\
         [grpc]\naddress = \"{socket}\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{shown}/opt\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{PAUSE}\"\nrestrict_oom_score_adj = true\n\
         stream_server_address = \"127.0.0.1\"\nstream_server_port = \"0\"\nnetns_mounts_under_state_dir = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"{shown}/cni\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nBinaryName = \"/usr/sbin/runc\"\n"
    );
    let cni = serde_json::json!({
        "cniVersion": "0.4.0", "name": network.bridge(),
        "plugins": [
            { "type": "bridge", "bridge": network.bridge(), "isGateway": true, "hairpinMode": true,
              "ipam": { "type": "host-local", "dataDir": folder.join("addresses"),
                        "ranges": [[{ "subnet": network.pods() }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
            { "type": "loopback" },
        ],
    });
    let kubelet = serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": "127.0.0.1", "port": free_port()?, "healthzPort": 0, "readOnlyPort": 0,
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": format!("unix://{socket}"),
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", network.cgroup()), "failCgroupV1": false,
        "enforceNodeAllocatable": [], "failSwapOn": false, "clusterDNS": [], "resolvConf": "",
        "maxPods": 250, "registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 200, "kubeAPIBurst": 400,
        "serializeImagePulls": false, "nodeStatusUpdateFrequency": "2s", "nodeLeaseDurationSeconds": 8,
        // The machine's disk is none of the tests' business.
        "evictionHard": { "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
    });
    std::fs::create_dir_all(folder.join("cni"))
        .context("failed to make the folder of the network's settings")?;
    for (name, text) in [
        ("containerd.toml", containerd),
        ("cni/10-updraft.conflist", cni.to_string()),
        ("kubelet.yaml", kubelet.to_string()),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

/// Our folder in each hierarchy of cgroups.
fn cgroups(network: &Network) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of_cgroups = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| Path::new(path).join(network.cgroup()))
    });
    of_cgroups.collect()
}

/// Ends what runs in containers and removes what they leave: processes, mounts, cgroups, the bridge.
pub(super) fn clean(place: &Place) -> Result<()> {
    let network = Network::of(place);
    let cgroups = cgroups(&network);
    signal_all(Signal::KILL, || Ok(cgroups.iter().flat_map(|cgroup| members(cgroup)).collect()))?;
    let mounts = std::fs::read_to_string("/proc/mounts").context("failed to read /proc/mounts")?;
    let ours = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| Path::new(path).starts_with(place.folder()));
    let ours: Vec<&str> = ours.collect();
    for path in ours.iter().rev() {
        succeed(Command::new("umount").args(["--lazy", path]))?;
    }
    for cgroup in &cgroups {
        remove_cgroup(cgroup);
    }
    let bridge = network.bridge();
    if Path::new("/sys/class/net").join(&bridge).exists() {
        succeed(Command::new("ip").args(["link", "delete", &bridge]))?;
    }
    Ok(())
}

/// The processes in a cgroup and those below it.
fn members(cgroup: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<Pid> = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
    found.extend(children(cgroup).iter().flat_map(|child| members(child)));
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a cgroup with those below it. One whose last processes are still ending is left for the next time.
fn remove_cgroup(cgroup: &Path) {
    for child in children(cgroup) {
        remove_cgroup(&child);
    }
    std::fs::remove_dir(cgroup).ok();
}
