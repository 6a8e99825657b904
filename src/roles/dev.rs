//! `updraft dev`: a single node for one author, on a database that goes with the process.

mod session;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use api::{Api, Tcp, TcpSettings};
use dags::{
    ids::TenantId,
    time::{Span, Timestamp},
};
use local_runner::dev::{processes::Supervisor, reuse::Replays, terminal::Terminal};
use migrations::{
    Db, TenantScope, migrate,
    seal::MasterKey,
    store::{
        connection::{self, Address, NewConnection, Secrets},
        variable::{self, NewVariable},
    },
};
use scheduler::shell::Status;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};

use self::session::Session;
use super::{
    Stop,
    bundles::NodeBundles,
    objects::NodeObjects,
    scheduling::{Scheduling, Trial},
    standalone::schedule,
};
use crate::{listen, settings::Settings};

/// How long the end of what was killed is waited for.
const DRAIN: Span = Span::seconds(5);
/// The time between TERM and KILL of what a newer run takes the place of.
const GRACE: Span = Span::seconds(5);
/// Where the console is if nothing else is said and nobody else is there.
const PORT: u16 = 8080;
const SCOPE: TenantScope = TenantScope::new(TenantId::DEFAULT);

/// What an author wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The folder of DAGs.
    pub(crate) folder: PathBuf,
    /// DAGs that run at once and after each change of theirs.
    pub(crate) run: Vec<String>,
    /// What runs are passed.
    pub(crate) conf: Map<String, Value>,
    /// What runs stand for.
    pub(crate) date: Option<Timestamp>,
    /// Variables.
    pub(crate) variables: Vec<(String, String)>,
    /// Connections as URLs.
    pub(crate) connections: Vec<(String, String)>,
    /// The console's address.
    pub(crate) listen: Option<SocketAddr>,
    /// Whether everything is run each time.
    pub(crate) no_reuse: bool,
    /// Whether standard output takes colours.
    pub(crate) colour: bool,
}

/// Runs until it is asked to end, and leaves nothing behind.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let folder = options.folder.canonicalize();
    let folder = folder.with_context(|| format!("failed to find the folder {}", options.folder.display()))?;
    anyhow::ensure!(folder.is_dir(), "{} is no folder: name the folder of DAGs", folder.display());
    let scratch = tempfile::Builder::new().prefix("updraft-dev-").tempdir();
    let scratch = scratch.context("failed to make a temporary folder")?;
    let data = scratch.path().canonicalize().context("failed to find the temporary folder")?;
    let mut settings = Settings::default();
    settings.node.data = Some(data.clone());
    settings.dags.folder = Some(folder);
    settings.open_files()?;
    let connections = connections(&options, &data, &mut settings)?;
    let tcp = open_port(options.listen).await?;
    let db = Db::temporary(&data.join("updraft.db")).await.context("failed to make the database")?;
    migrate::up(&db).await.context("failed to make the database's tables")?;
    let key = MasterKey::load_or_create(&data.join("master.key"))?;
    let stop = Stop::on_signals()?;
    let (found, seen) = mpsc::unbounded_channel();
    let replays = Arc::new(Replays::default());
    let mut scheduling = Scheduling::new(&settings, db, key, "dev".to_owned(), DRAIN, true)?;
    scheduling.config.kill_grace = GRACE;
    scheduling.trial = Some(Trial { found, answers: replays.clone() });
    let scheduling = scheduling;
    scheduling.sealer.check(&scheduling.db).await.context("failed to use the master key")?;
    for (name, value) in options.variables.clone() {
        let new = NewVariable { name, value, secret: false, description: None };
        variable::set(&scheduling.db, SCOPE, &scheduling.sealer, "dev", &new).await?;
    }
    for new in connections {
        connection::set(&scheduling.db, SCOPE, &scheduling.sealer, "dev", &new).await?;
    }
    let objects = NodeObjects {
        objects: scheduling.objects.clone(),
        executor: scheduling.current.clone(),
        elsewhere: BTreeSet::new(),
    };
    let api = Api::new(api::Parts {
        db: scheduling.db.clone(),
        sealer: scheduling.sealer.clone(),
        tenant: TenantId::DEFAULT,
        wake: {
            let wake = scheduling.wake.clone();
            Arc::new(move || wake.notify_one())
        },
        settled: scheduling.settled.clone(),
        bundles: NodeBundles(scheduling.deployments()),
        objects: objects.clone(),
        default_pool_slots: scheduling.config.default_pool_slots,
        owner_wait: Duration::from_secs(settings.api.owner_wait_s.into()),
        console: super::console(),
        monitor: None,
        // Whoever has the link is the only one there.
        rates: api::RateSettings { account: 0, tenant: 0 },
        // It is set by its command line alone.
        config: Vec::new(),
    });
    let path = api.admit_author().await.map_err(anyhow::Error::msg)?;
    api.start();
    let console = format!("{}{}", tcp.url(), *path);
    let (status, changes) = watch::channel(Status::default());
    let terminal = Terminal::open()?;
    let mut session = Session::new(&scheduling, objects, replays, options, (console, data), terminal);
    let mut deciding = Box::pin(schedule(&scheduling, &status, &stop));
    let mut serving = Box::pin(listen::serve(tcp, api, stop.cancel.clone()));
    // Both hear of the wish to end, and the scheduler may be the first to have done so.
    let mut decided = false;
    let outcome = tokio::select! {
        ended = &mut deciding => {
            decided = true;
            ended.and_then(|()| {
                anyhow::ensure!(stop.drain.is_cancelled(), "the scheduler has ended");
                Ok(())
            })
        }
        stopped = &mut serving => Err(stopped),
        outcome = Box::pin(session.run(seen, changes, &stop)) => outcome,
    };
    drop(session);
    // Nothing starts any more; what runs is ended, and then the supervisor ends with the scheduler's term.
    stop.drain.cancel();
    let local = scheduling.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    if let Some(local) = local {
        let supervisor = Supervisor::of(local).await;
        tokio::select! {
            ended = &mut deciding, if !decided => if let Err(error) = ended {
                tracing::warn!("the scheduler didn't end as it should: {error:#}");
            },
            () = supervisor.end_attempts(), if !decided => {}
            else => {}
        }
        drop(deciding);
        supervisor.gone().await?;
    } else {
        drop(deciding);
    }
    stop.cancel.cancel();
    drop(serving);
    scheduling.db.clone().close().await;
    scratch.close().context("failed to remove the temporary folder")?;
    outcome
}

async fn open_port(listen: Option<SocketAddr>) -> anyhow::Result<Tcp> {
    let bind = async |listen| {
        Tcp::bind(TcpSettings { listen, tls: None, proxies: Vec::new(), hosts: Vec::new() }).await
    };
    if let Some(listen) = listen {
        anyhow::ensure!(
            listen.ip().is_loopback(),
            "`--listen {listen}` can be reached from other machines, and whoever has the link is the author: \
             use 127.0.0.1"
        );
        return bind(listen)
            .await
            .context("failed to open the console's port (`--listen` names another one)");
    }
    match bind(SocketAddr::from(([127, 0, 0, 1], PORT))).await {
        Ok(tcp) => Ok(tcp),
        Err(_) => {
            bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.context("failed to open the console's port")
        }
    }
}

/// The connections that were given. The folders of SQLite files are opened to tasks.
fn connections(
    options: &Options,
    data: &std::path::Path,
    settings: &mut Settings,
) -> anyhow::Result<Vec<NewConnection>> {
    let mut new = BTreeMap::new();
    for (name, url) in &options.connections {
        let given = local_runner::connection::parse(name, url, &data.join("files"))
            .map_err(|why| anyhow::anyhow!("`--conn {name}` {why}"))?;
        settings.tasks.data_folders.get_or_insert_default().extend(given.data_dir);
        let plugins::context::Connection { conn_type, host, port, schema, login, password, extra } =
            given.connection;
        let address = Address { conn_type, host, port, schema, login };
        let secrets = Some(Secrets { password, extra });
        new.insert(name, NewConnection { name: name.clone(), address, secrets, description: None });
    }
    Ok(new.into_values().collect())
}
