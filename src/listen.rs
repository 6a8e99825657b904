//! The TCP port of the API: its options, the first administrator, and serving until the end.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use api::{Api, FirstAdmin, Tcp, TcpSettings, TlsFiles};
use clap::Args;
use dags::ids::TenantId;
use migrations::Db;
use tokio_util::sync::CancellationToken;

/// Where the first administrator's password lies, in the data folder.
const FIRST_PASSWORD: &str = "admin-password";

/// The port, and who is trusted on it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListenArgs {
    /// The address of the API; beyond this machine only with a certificate or a trusted proxy. Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "UPDRAFT_LISTEN")]
    listen: SocketAddr,
    /// The certificate for TLS, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, a PEM file of mode 0600
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A proxy that ends TLS and says where requests come from; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    trusted_proxy: Vec<IpAddr>,
    /// A name under which clients reach this service; may be repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

impl ListenArgs {
    /// Opens the port.
    pub(crate) async fn open(self) -> anyhow::Result<Tcp> {
        let Self { listen, tls_cert, tls_key, trusted_proxy: proxies, host: hosts } = self;
        let tls = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
        let tcp = Tcp::bind(TcpSettings { listen, tls, proxies, hosts }).await;
        tcp.context("failed to open the port of the API (`--listen` names another one)")
    }
}

/// Makes the first administrator if there is nobody yet, and says where their password lies.
pub(crate) async fn first_admin(db: &Db, data: &Path) -> anyhow::Result<()> {
    let made = api::first_admin(db, TenantId::DEFAULT).await.map_err(anyhow::Error::msg)?;
    let Some(FirstAdmin { name, password }) = made else { return Ok(()) };
    let path = data.join(FIRST_PASSWORD);
    let write = || {
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{}", *password)
    };
    write().with_context(|| format!("failed to write the first password to {}", path.display()))?;
    tracing::warn!(
        file = %path.display(),
        "made the first administrator `{name}`; the file has a password that is good for a day and for setting another \
         one: `updraft login`"
    );
    Ok(())
}

/// Serves the API on its port. It ends with the scheduler, never before it but for an error.
pub(crate) async fn serve(tcp: Tcp, api: Api, cancel: CancellationToken) -> anyhow::Error {
    match api::serve_tcp(tcp, api, cancel).await {
        Ok(()) => std::future::pending().await,
        Err(error) => anyhow::Error::from(error).context("the API stopped"),
    }
}
