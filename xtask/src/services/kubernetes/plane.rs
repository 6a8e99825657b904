//! The control plane: etcd, the API server, the controller manager and the scheduler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::node::Network;
use super::{spawn, succeed, wait};
use crate::services::machine::{free_port, random_password};
use crate::services::place::Place;

/// Who may do what: name, user, group.
const USERS: [(&str, &str, &str); 4] = [
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", "system:kube-controller-manager"),
    ("scheduler", "system:kube-scheduler", "system:kube-scheduler"),
    ("kubelet", "system:node:localhost", "system:nodes"),
];

/// The kubeconfig of one of them.
pub(super) fn kubeconfig(place: &Place, name: &str) -> PathBuf {
    place.folder().join(format!("{name}.kubeconfig"))
}

/// Starts it and waits until it answers.
pub(super) fn start(place: &Place, program: &Path, network: &Network) -> Result<()> {
    let folder = place.folder();
    let (etcd, api) = (etcd(place)?, free_port()?);
    let tokens = credentials(place, api)?;
    let key = folder.join("service-accounts.key");
    succeed(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
    let argument = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let certificates = folder.join("certificates");
    spawn(
        place,
        "kube-apiserver",
        Command::new(program)
            .arg("kube-apiserver")
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
            .arg(format!("--secure-port={api}"))
            .args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
            ])
            .arg(argument("cert-dir", &certificates))
            .arg(argument("token-auth-file", &tokens))
            .arg(argument("service-account-key-file", &key))
            .arg(argument("service-account-signing-key-file", &key))
            .arg(format!("--service-account-issuer=https://127.0.0.1:{api}"))
            .arg(format!("--service-cluster-ip-range={}", network.services()))
            .args([
                "--authorization-mode=Node,RBAC",
                "--allow-privileged",
                "--kubelet-preferred-address-types=Hostname",
            ])
            // So many pods at once are nothing unusual for a test.
            .args([
                "--max-requests-inflight=2000",
                "--max-mutating-requests-inflight=1000",
                "--profiling=false",
            ]),
    )?;
    wait(place, "kube-apiserver", || answers(place))?;
    spawn(
        place,
        "kube-controller-manager",
        Command::new(program)
            .arg("kube-controller-manager")
            .arg(argument("kubeconfig", &kubeconfig(place, "controller-manager")))
            .arg(argument("service-account-private-key-file", &key))
            .arg(argument("root-ca-file", &certificates.join("apiserver.crt")))
            .args(["--secure-port=0", "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400"])
            // Each controller has rights of its own.
            .arg("--use-service-account-credentials=true")
            // Nodes that are lost are noticed within seconds.
            .args(["--node-monitor-period=1s", "--node-monitor-grace-period=10s"]),
    )?;
    spawn(
        place,
        "kube-scheduler",
        Command::new(program)
            .arg("kube-scheduler")
            .arg(argument("kubeconfig", &kubeconfig(place, "scheduler")))
            .args(["--secure-port=0", "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400"]),
    )?;
    // Pods can't be made before.
    wait(place, "kube-controller-manager", || {
        get(place, "/api/v1/namespaces/default/serviceaccounts/default").is_some()
    })
}

/// Whether the API server answers.
pub(super) fn answers(place: &Place) -> bool {
    get(place, "/readyz").is_some()
}

/// What the API server says at a path; none if it isn't there.
pub(super) fn get(place: &Place, path: &str) -> Option<String> {
    let server = std::fs::read_to_string(place.folder().join("server")).ok()?;
    let token = std::fs::read_to_string(place.folder().join("admin.token")).ok()?;
    let output = Command::new("curl")
        .args(["-sf", "--max-time", "5", "--cacert"])
        .arg(place.folder().join("certificates/apiserver.crt"))
        .args(["-H", &format!("Authorization: Bearer {token}"), &format!("{server}{path}")])
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts etcd; its port.
fn etcd(place: &Place) -> Result<u16> {
    let (clients, peers) = (free_port()?, free_port()?);
    // In memory: etcd forces each change to disk, which a test has no use for.
    let data = place.folder().join("etcd");
    std::fs::create_dir(&data).with_context(|| format!("failed to make {}", data.display()))?;
    succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2g,mode=0700", "tmpfs"]).arg(&data))?;
    let (clients_url, peers_url) =
        (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    spawn(
        place,
        "etcd",
        Command::new("/usr/bin/etcd")
            .arg("--data-dir")
            .arg(data.join("data"))
            .args(["--listen-client-urls", &clients_url, "--advertise-client-urls", &clients_url])
            .args(["--listen-peer-urls", &peers_url, "--initial-advertise-peer-urls", &peers_url])
            .args(["--initial-cluster", &format!("default={peers_url}"), "--log-level=warn"])
            .args(["--quota-backend-bytes=2147483648", "--auto-compaction-retention=1"]),
    )?;
    Ok(clients)
}

/// Makes everybody a token and a kubeconfig; gives the file of tokens.
fn credentials(place: &Place, port: u16) -> Result<PathBuf> {
    let folder = place.folder();
    let server = format!("https://127.0.0.1:{port}");
    std::fs::write(folder.join("server"), &server).context("failed to write the API server's address")?;
    let mut tokens = String::new();
    for (name, user, group) in USERS {
        let token = random_password()?;
        tokens += &format!("{token},{user},{user},\"{group}\"\n");
        Place::write_secret(&folder.join(format!("{name}.token")), &token)?;
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: tests\n\
             clusters:\n- name: tests\n  cluster:\n    server: {server}\n    certificate-authority: {}\n\
             users:\n- name: {name}\n  user:\n    token: {token}\n\
             contexts:\n- name: tests\n  context: {{cluster: tests, user: {name}}}\n",
            folder.join("certificates/apiserver.crt").display()
        );
        Place::write_secret(&kubeconfig(place, name), &config)?;
    }
    let path = folder.join("tokens.csv");
    Place::write_secret(&path, &tokens)?;
    Ok(path)
}
