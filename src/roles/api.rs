//! `updraft api`: answers requests. It keeps nothing, so several may run, each on a socket of its own.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use api::{Api, Socket, monitoring::Monitor, v1::config::Setting};
use dags::ids::TenantId;
use migrations::{
    Db, Role,
    seal::{MasterKey, Sealer},
    wake::Topic,
};
use scheduler::{deploy::Deployments, hints, objects::Objects};
use telemetry::Recorder;
use tokio::sync::Notify;

use super::{
    Stop,
    bundles::NodeBundles,
    objects::{Current, NodeObjects},
    reach,
};
use crate::{
    fleet::{self, TaskApi},
    monitoring::{self, Process, Waits},
    settings::Settings,
};

/// Runs until a signal; answers under way are finished.
pub(crate) async fn run(settings: Settings, config: Vec<Setting>, recorder: Recorder) -> anyhow::Result<()> {
    let url = settings.shared_database()?;
    let db = Db::open(url, Role::Service).await.context("failed to open the database")?;
    let key = MasterKey::load(&settings.master_file()?)
        .context("failed to read the master key (`keys.master_file`)")?;
    let objects = settings.objects_folder()?;
    let objects = Objects::open(&objects).with_context(|| {
        format!("failed to open the folder of objects (`objects.folder`), {}", objects.display())
    })?;
    let socket = Socket::bind(&settings.socket()?).context("failed to open the socket (`api.socket`)")?;
    let stop = Stop::on_signals()?;
    tracing::info!(socket = %socket.path().display(), "see the runs with `updraft runs list --socket {}`", socket.path().display());
    let task_api = settings.asked()?.map(|asked| {
        let (keys, sealer) = (fleet::keys(&key), Sealer::new(key.clone()));
        TaskApi { asked, db: db.clone(), keys, sealer, objects: objects.clone() }
    });
    let sealer = Sealer::new(key);
    let port = monitoring::open(&settings).await?;
    let waits = Waits::for_database();
    let watched = Some((db.clone(), waits.clone()));
    let monitor = Monitor::new(Process { db: watched, ..Process::new("api", recorder.clone()) });
    let (asked, settled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let api = Api::new(api::Parts {
        db: db.clone(),
        sealer: sealer.clone(),
        tenant: TenantId::DEFAULT,
        wake: {
            let asked = asked.clone();
            Arc::new(move || asked.notify_waiters())
        },
        settled: settled.clone(),
        bundles: NodeBundles(Deployments::new(
            objects.clone(),
            super::script_program(),
            settings.installation()?,
        )),
        objects: NodeObjects { objects, executor: Current::default(), elsewhere: settings.elsewhere()? },
        default_pool_slots: settings.scheduler.default_pool_slots,
        owner_wait: Duration::from_secs(settings.api.owner_wait_s.into()),
        rates: settings.api.rates(),
        console: super::console(),
        monitor: Some(monitor.clone()),
        config,
    });
    let monitoring = monitoring::serve(port, monitor, recorder, stop.cancel.clone());
    // What needs the database. It ends by itself for an error only; after a signal the API's socket ends first.
    let working = async {
        if !reach::database(&db, &sealer, &waits, &stop).await? {
            return std::future::pending().await;
        }
        api.start();
        tokio::select! {
            stopped = fleet::answer(task_api, stop.drain.clone()) => Err(stopped),
            never = hints::pass_on(&db, Topic::Inbox, &asked) => match never {},
            never = hints::hear(&db, Topic::Outcomes, || settled.notify_waiters()) => match never {},
        }
    };
    tokio::select! {
        served = api::serve(socket, api.clone(), stop.drain.clone()) => served.context("the API stopped"),
        ended = working => ended,
        stopped = monitoring => Err(stopped),
        () = stop.cancel.cancelled() => Ok(()),
    }
}
