//! `updraft scheduler`: stands by for the shard's lease, owns the shard, and stands by again when the lease is lost.

use anyhow::Context as _;
use api::monitoring::Monitor;
use dags::time::Span;
use migrations::{Db, Role, seal::MasterKey};
use scheduler::{clock, conflicts::Conflicts, patience::Patience, shell::Status};
use telemetry::Recorder;
use tokio::sync::watch;

use super::{
    Stop, reach,
    scheduling::{Over, Scheduling, UNREAD},
};
use crate::{monitoring, settings::Settings};

/// Runs until a signal: the first one drains as the settings say and hands the shard over, the second one leaves at once.
pub(crate) async fn run(settings: Settings, recorder: Recorder) -> anyhow::Result<()> {
    let url = settings.shared_database()?;
    let db = Db::open(url, Role::Owner).await.context("failed to open the database")?;
    let key = MasterKey::load(&settings.master_file()?)
        .context("failed to read the master key (`keys.master_file`)")?;
    let stop = Stop::on_signals()?;
    let port = monitoring::open(&settings).await?;
    let scheduling = Scheduling::new(&settings, db, key, owner(), Span::ZERO, false)?;
    let monitor = Monitor::new(scheduling.process("scheduler", recorder.clone()));
    let monitoring = monitoring::serve(port, monitor, recorder, stop.cancel.clone());
    let working = async {
        if reach::database(&scheduling.db, &scheduling.sealer, &scheduling.waits, &stop).await? {
            stand_by(&scheduling, &stop).await
        } else {
            Ok(())
        }
    };
    tokio::select! {
        ended = working => ended,
        stopped = monitoring => Err(stopped),
    }
}

/// Owns the shard whenever it can be had, until it is asked to end.
async fn stand_by(scheduling: &Scheduling, stop: &Stop) -> anyhow::Result<()> {
    let (status, _) = watch::channel(Status::default());
    let (mut conflicts, mut unread) = (Conflicts::default(), Patience::new(UNREAD.0, UNREAD.1));
    loop {
        let term = tokio::select! {
            term = scheduling.claim.wait(|why| scheduling.stand(why)) => term?,
            () = stop.drain.cancelled() => return Ok(()),
        };
        let over = Box::pin(scheduling.serve(term, &mut conflicts, &status, stop)).await?;
        if !matches!(over, Over::Unread(_)) {
            unread.came_back();
        }
        let pause = match over {
            Over::Asked => return Ok(()),
            Over::Lost(lost) => {
                tracing::error!("{lost}; standing by");
                Span::ZERO
            }
            Over::Stopped(pause) => pause,
            Over::Unread(why) => {
                if unread.is_news(&why) {
                    tracing::error!(error = why, "what is stored couldn't be read; standing by");
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

/// This process's own name: another one that starts here, even while this one is paused, must not be taken for it.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}:{}", host.trim(), std::process::id(), clock::now().0)
}
