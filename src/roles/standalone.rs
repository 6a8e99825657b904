//! The single node: scheduler, local executor, embedded database, API and a watched folder of DAGs in one process.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use api::{Api, Socket, monitoring::Monitor, v1::config::Setting};
use dags::{ids::TenantId, time::Span};
use migrations::{Db, Role, migrate, seal::MasterKey};
use scheduler::{clock, conflicts::Conflicts, lease::Lost, patience::Patience, shell::Status};
use telemetry::Recorder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Stop,
    bundles::NodeBundles,
    objects::NodeObjects,
    reach,
    scheduling::{Over, Scheduling, UNREAD},
};
use crate::{
    fleet,
    listen::{self, ListenArgs},
    monitoring::{self, error_chain},
    settings::Settings,
};

/// How long a drain waits for running attempts; after that they go on under the supervisor and are found again.
const DRAIN: Span = Span::seconds(30);

/// Runs until Ctrl-C: the first one drains, the second one leaves at once.
pub(crate) async fn run(
    mut settings: Settings,
    config: Vec<Setting>,
    port: ListenArgs,
    recorder: Recorder,
) -> anyhow::Result<()> {
    let data = settings.data()?;
    settings
        .dags
        .folder
        .as_ref()
        .context("`dags.folder` isn't set: name the folder of DAGs, `--dags DIR`")?;
    // First of all: it says whether another service runs here, which would take the shard from us under our own name.
    let socket = Socket::bind(&settings.socket()?).context("failed to open the socket")?;
    let tcp = port.open().await?;
    let url = settings.own_database()?;
    let db = Db::open(&url, Role::Owner).await.context("failed to open the database")?;
    let key = MasterKey::load_or_create(&settings.master_file()?)?;
    let stop = Stop::on_signals()?;
    tracing::info!(url = tcp.url(), "the API listens; see it with `updraft login {}`", tcp.url());
    tracing::info!(socket = %socket.path().display(), "see the runs with `updraft runs list --socket {}`", socket.path().display());
    let owner = format!("standalone:{}", data.display());
    settings.open_files()?;
    let watched = monitoring::open(&settings).await?;
    let scheduling = Scheduling::new(&settings, db, key, owner, DRAIN, true)?;
    let monitor = Monitor::new(scheduling.process("standalone", recorder.clone()));
    let api = Api::new(api::Parts {
        db: scheduling.db.clone(),
        sealer: scheduling.sealer.clone(),
        tenant: TenantId::DEFAULT,
        wake: {
            let wake = scheduling.wake.clone();
            Arc::new(move || wake.notify_one())
        },
        settled: scheduling.settled.clone(),
        objects: NodeObjects {
            objects: scheduling.objects.clone(),
            executor: scheduling.current.clone(),
            elsewhere: settings.elsewhere()?,
        },
        bundles: NodeBundles(scheduling.deployments()),
        default_pool_slots: scheduling.config.default_pool_slots,
        owner_wait: Duration::from_secs(settings.api.owner_wait_s.into()),
        rates: settings.api.rates(),
        console: super::console(),
        monitor: Some(monitor.clone()),
        config,
    });
    let monitoring = monitoring::serve(watched, monitor, recorder, stop.cancel.clone());
    let working = async {
        let newest = async || {
            scheduling.db.reach().await?;
            migrate::up(&scheduling.db).await?;
            scheduling.sealer.check(&scheduling.db).await
        };
        if reach::until(newest, &scheduling.waits, &stop).await?.is_none() {
            return Ok(());
        }
        listen::first_admin(&scheduling.db, &data).await?;
        api.start();
        let status = watch::Sender::default();
        tokio::select! {
            ended = schedule(&scheduling, &status, &stop) => ended,
            stopped = fleet::answer(scheduling.task_api(), stop.cancel.clone()) => Err(stopped),
        }
    };
    tokio::select! {
        ended = working => ended,
        stopped = serve_socket(socket, api.clone(), stop.cancel.clone()) => Err(stopped),
        stopped = listen::serve(tcp, api.clone(), stop.cancel.clone()) => Err(stopped),
        stopped = monitoring => Err(stopped),
    }
}

/// Owns the shard and schedules, again and again until it is asked to end.
pub(super) async fn schedule(
    scheduling: &Scheduling,
    status: &watch::Sender<Status>,
    stop: &Stop,
) -> anyhow::Result<()> {
    let (mut conflicts, mut unread) = (Conflicts::default(), Patience::new(UNREAD.0, UNREAD.1));
    loop {
        let taken = scheduling.claim.take().await;
        let over = match taken {
            Ok(term) => Box::pin(scheduling.serve(term, &mut conflicts, status, stop)).await?,
            Err(error) if error.is_away() => {
                scheduling.stand(&error);
                Over::Unread(error_chain(&error))
            }
            Err(error) => return Err(error).context("failed to become the owner of the shard"),
        };
        if !matches!(over, Over::Unread(_)) {
            unread.came_back();
        }
        let pause = match over {
            Over::Asked => return Ok(()),
            Over::Lost(lost @ Lost::Fenced) => return Err(lost.into()),
            Over::Lost(lost @ Lost::NotRenewed) => {
                tracing::warn!("{lost}; taking it again");
                Span::ZERO
            }
            Over::Stopped(pause) => pause,
            Over::Unread(why) => {
                if unread.is_news(&why) {
                    tracing::error!(error = why, "the database can't be read; trying again");
                }
                unread.pause()
            }
        };
        tokio::select! {
            () = clock::sleep(pause) => {}
            () = stop.drain.cancelled() => return Ok(()),
        }
    }
}

/// Serves the API on the socket. It ends with the scheduler, never before it but for an error.
async fn serve_socket(socket: Socket, api: Api, cancel: CancellationToken) -> anyhow::Error {
    match api::serve(socket, api, cancel).await {
        Ok(()) => std::future::pending().await,
        Err(error) => anyhow::Error::from(error).context("the API stopped"),
    }
}
