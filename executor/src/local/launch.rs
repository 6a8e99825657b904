//! Starting the supervisor, so that it outlives whoever started it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::net::UnixStream;

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

/// How often a new supervisor is tried.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// Connects to the supervisor; starts one if none listens.
pub(super) async fn connect(options: &Options, child: &mut Option<Child>) -> io::Result<UnixStream> {
    let path = options.dir.join(SOCKET);
    match UnixStream::connect(&path).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
        outcome => return outcome,
    }
    let started = child.insert(start(options)?);
    let deadline = tokio::time::Instant::now() + START_MAX;
    loop {
        tokio::time::sleep(TRY_EVERY).await;
        match UnixStream::connect(&path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            Err(_) => {}
        }
        if let Some(status) = started.try_wait()? {
            // Another one may have been faster, and ours gave way to it.
            return UnixStream::connect(&path).await.map_err(|_| {
                let log = options.dir.join("supervisor.log");
                io::Error::other(format!(
                    "the supervisor ended at once ({status}); {} says why",
                    log.display()
                ))
            });
        }
    }
}

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
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .spawn()
}
