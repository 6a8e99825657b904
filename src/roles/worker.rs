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
use engine::fleet::WorkerSpec;
use executor::worker::{self, Api, Options, Run};
use telemetry::Recorder;
use uuid::Uuid;

use super::Stop;
use crate::{
    args::pairs,
    monitoring::{self, Process},
    settings::{Settings, Worker},
};

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
    let process = Process { worker: Some(watch.clone()), ..Process::new("worker", recorder.clone()) };
    let monitoring = monitoring::serve(port, Monitor::new(process), recorder, stop.cancel.clone());
    let working = async {
        let file = data.join("worker.credential");
        let credential = tokio::select! {
            credential = credential(api, &settings.worker, &file, &watch) => credential?,
            () = stop.drain.cancelled() => return Ok(()),
        };
        let options = Options {
            api: Api::new(api, credential)?,
            broker,
            data,
            spec,
            labels,
            run,
            drain_max: Duration::from_secs((*drain_s).into()),
            watch,
        };
        Ok(worker::run(options, stop.drain, stop.cancel.clone()).await?)
    };
    tokio::select! {
        ended = working => ended,
        error = monitoring => Err(error),
    }
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
async fn credential(
    api: &str,
    settings: &Worker,
    path: &Path,
    watch: &worker::Watch,
) -> anyhow::Result<String> {
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
    let credential = worker::enrol(api, token.trim(), &name, watch).await.context(
        "failed to enrol this machine; a token is good once and for an hour: make another with `updraft workers enrol`",
    )?;
    let failed = || format!("failed to store the worker's credential in {}", path.display());
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(failed)?;
    io::Write::write_all(&mut file, credential.as_bytes()).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    Ok(credential)
}
