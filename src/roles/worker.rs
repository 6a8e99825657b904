//! `updraft worker`: a machine that runs attempts for a service on others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use api::monitoring::Monitor;
use dags::time::Span;
use engine::fleet::WorkerSpec;
use executor::worker::{self, Api, ApiError, Options, Run};
use scheduler::clock;
use telemetry::Recorder;
use uuid::Uuid;

use super::Stop;
use crate::{
    args,
    monitoring::{self, Process},
    settings::{Settings, Worker},
};

/// Waits between two tries to enrol.
const ENROL_AGAIN: (Span, Span) = (Span::millis(100), Span::seconds(3));

/// Runs until a signal: the first one drains, the second one ends attempts and leaves.
pub(crate) async fn run(settings: Settings, recorder: Recorder) -> anyhow::Result<()> {
    let broker = settings.broker()?.to_owned();
    let data = settings.data()?;
    let Worker { api, slots, cpu_milli, memory_bytes, gpus, queues, labels, drain_s, noop, .. } =
        &settings.worker;
    let api = api
        .as_deref()
        .context("`worker.api` isn't set: say where the service answers workers, `--api URL`")?;
    let (gpus, labels) = (counts("worker.gpus", gpus)?, pairs("worker.labels", labels)?);
    let stop = Stop::on_signals()?;
    let port = monitoring::open(&settings).await?;
    let watch = worker::Watch::default();
    let path = data.join("worker.credential");
    let credential = tokio::select! {
        credential = credential(api, &settings.worker, &path) => credential?,
        () = stop.drain.cancelled() => return Ok(()),
    };
    let machine = worker::capacity(*slots).context("failed to find the machine's size")?;
    let spec = WorkerSpec {
        worker: dags::ids::WorkerId(Uuid::nil()),
        slots: *slots,
        cpu_milli: cpu_milli.unwrap_or(machine.cpu_milli),
        memory_bytes: memory_bytes.unwrap_or(machine.memory_bytes),
        gpus,
        custom: BTreeMap::new(),
        queues: queues.iter().cloned().collect::<BTreeSet<_>>(),
        tenants: None,
    };
    let run = if *noop {
        Run::Noop
    } else {
        Run::Local { program: std::env::current_exe()?, arguments: vec!["supervise".into()] }
    };
    let options = Options {
        api: Api::new(api, credential)?,
        broker,
        data,
        spec,
        labels,
        run,
        drain_max: Duration::from_secs((*drain_s).into()),
        watch: watch.clone(),
    };
    let process = Process { worker: Some(watch), ..Process::new("worker", recorder.clone()) };
    let monitoring = monitoring::serve(port, Monitor::new(process), recorder, stop.cancel.clone());
    tokio::select! {
        ended = worker::run(options, stop.drain, stop.cancel) => Ok(ended?),
        error = monitoring => Err(error),
    }
}

fn pairs(key: &str, texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair =
        |text: &String| args::pair(text).map_err(|wanted| anyhow::anyhow!("`{key}` has {text:?}: {wanted}"));
    texts.iter().map(pair).collect()
}

fn counts(key: &str, texts: &[String]) -> anyhow::Result<BTreeMap<String, u32>> {
    let count = |(model, count): (String, String)| {
        let number =
            count.parse().with_context(|| format!("`{key}` has `{model}={count}`: write `MODEL=COUNT`"));
        Ok((model, number?))
    };
    pairs(key, texts)?.into_iter().map(count).collect()
}

/// The credential of this folder, or the one that an enrolment token becomes.
async fn credential(api: &str, settings: &Worker, path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
    let Some(file) = &settings.enrolment_token_file else {
        bail!(
            "this machine isn't enrolled: make a token with `updraft workers enrol` and name its file with \
             `--enrolment-token-file`"
        );
    };
    let token = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let name = match &settings.name {
        Some(name) => name.clone(),
        None => {
            let host = fs::read_to_string("/proc/sys/kernel/hostname");
            host.context("failed to find the host's name: set `worker.name`")?.trim().to_owned()
        }
    };
    let credential = enrol(api, token.trim(), &name).await.context(
        "failed to enrol this machine; a token is good once and for an hour: make another with `updraft workers enrol`",
    )?;
    let failed = || format!("failed to store the worker's credential in {}", path.display());
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(failed)?;
    io::Write::write_all(&mut file, credential.as_bytes()).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    Ok(credential)
}

/// Turns the token into a credential, as soon as the service answers. A refusal is final.
async fn enrol(api: &str, token: &str, name: &str) -> Result<String, ApiError> {
    let mut wait = ENROL_AGAIN.0;
    loop {
        match worker::enrol(api, token, name).await {
            Err(error @ (ApiError::Unavailable(_) | ApiError::Failing(_))) => {
                tracing::warn!(%error, "the machine can't be enrolled now; trying again");
                clock::sleep(wait).await;
                wait = Span((wait.0 * 2).min(ENROL_AGAIN.1.0));
            }
            done => return done,
        }
    }
}
