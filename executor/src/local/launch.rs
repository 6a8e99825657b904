//! Starting the supervisor, so that it outlives whoever started it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::UnixStream, process::ChildStdout};

use super::Options;
use crate::supervise::SOCKET;

/// What the supervisor inherits of the environment; everything else, secrets above all, stays behind.
const ENVIRONMENT: [&str; 11] = [
    "PATH",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "RUST_LOG",
];

/// How long a new supervisor may take until it listens: it first ends what a former one left.
const START_MAX: Duration = Duration::from_secs(15);

/// Connects to the supervisor; starts one if none listens.
pub(super) async fn connect(options: &Options, children: &mut Vec<Child>) -> io::Result<UnixStream> {
    let path = options.dir.join(SOCKET);
    match UnixStream::connect(&path).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
        outcome => return outcome,
    }
    let mut child = start(options)?;
    let said = child.stdout.take().map(ChildStdout::from_std).transpose()?;
    children.push(child);
    let mut ready = [0; 1];
    let listens = match said {
        Some(mut said) => {
            tokio::time::timeout(START_MAX, said.read(&mut ready)).await.map_err(io::Error::from)??
        }
        None => 0,
    };
    // One that ended without a word may have given way to another that was faster.
    UnixStream::connect(&path).await.map_err(|error| match listens {
        0 => {
            let log = options.dir.join("supervisor.log");
            io::Error::other(format!("the supervisor ended at once; {} says why", log.display()))
        }
        _ => error,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "what the supervisor inherits is picked from this process's environment"
)]
fn start(options: &Options) -> io::Result<Child> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.dir)?;
    let log = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(options.dir.join("supervisor.log"))?;
    let environment = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(&options.program)
        .args(&options.arguments)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log))
        .spawn()
}
