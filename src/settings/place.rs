//! Where things are, by the settings, and what settings must hold together.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use api::{TcpSettings, TlsFiles};
use dags::{
    ids::ExecutorName,
    installation::{Installation, Offer},
};

use crate::{
    fleet::{Asked, FleetSettings},
    settings::{Kind, Monitoring, Settings, TaskApi, clusters},
};

/// The shortest token that opens the monitoring port.
const TOKEN_BYTES_MIN: usize = 16;

/// An executor with what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) kind: Kind,
    pub(crate) slots: u32,
}

impl Settings {
    /// The folder of this machine, made if it isn't there.
    pub(crate) fn data(&self) -> anyhow::Result<PathBuf> {
        let data = self
            .node
            .data
            .as_deref()
            .context("`node.data` isn't set: name the folder of this machine's files")?;
        make_private(data)
            .with_context(|| format!("failed to make the folder `node.data`, {}", data.display()))?;
        data.canonicalize().with_context(|| format!("failed to find `node.data`, {}", data.display()))
    }

    /// A path that is set, or the default in the folder of this machine.
    fn beside(&self, set: Option<&PathBuf>, name: &str) -> anyhow::Result<PathBuf> {
        match set {
            Some(path) => Ok(path.clone()),
            None => Ok(self.data()?.join(name)),
        }
    }

    /// The master key's file.
    pub(crate) fn master_file(&self) -> anyhow::Result<PathBuf> {
        self.beside(self.keys.master_file.as_ref(), "master.key")
    }

    /// The folder of objects.
    pub(crate) fn objects_folder(&self) -> anyhow::Result<PathBuf> {
        self.beside(self.objects.folder.as_ref(), "objects")
    }

    /// The folders where tasks may open SQLite files, which must be there.
    pub(crate) fn data_folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let folders = self.tasks.data_folders.iter().flatten().map(|folder| {
            folder.canonicalize().with_context(|| {
                format!(
                    "failed to find a folder that is open to tasks (`tasks.data_folders`), {}",
                    folder.display()
                )
            })
        });
        folders.collect()
    }

    /// Opens the folder `files` of this machine to tasks, made if it isn't there, if the settings open none.
    pub(crate) fn open_files(&mut self) -> anyhow::Result<()> {
        if self.tasks.data_folders.is_none() {
            let files = self.data()?.join("files");
            make_private(&files).with_context(|| format!("failed to make the folder {}", files.display()))?;
            self.tasks.data_folders = Some(vec![files]);
        }
        Ok(())
    }

    /// The API's socket.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        self.beside(self.api.socket.as_ref(), "updraft.sock")
    }

    /// The database that several processes share.
    pub(crate) fn shared_database(&self) -> anyhow::Result<&str> {
        let url = self.database.url.as_ref().map(super::Secret::expose);
        let url = url.context(
            "`database.url` isn't set: name a PostgreSQL database, `postgres://user@host/database`, or use `updraft standalone`",
        )?;
        if url.starts_with("sqlite:") {
            bail!(
                "`database.url` is {:?}, but SQLite serves one process: name a PostgreSQL database, or use `updraft standalone`",
                migrations::redacted(url)
            );
        }
        Ok(url)
    }

    /// The executors with their kinds; `local` if none is set.
    pub(crate) fn executors(&self) -> anyhow::Result<BTreeMap<ExecutorName, Chosen>> {
        let mut chosen = BTreeMap::new();
        for (name, executor) in &self.executors {
            let by_name = Kind::ALL.into_iter().find(|kind| kind.name() == *name);
            let kind = executor.kind.or(by_name);
            let kind = kind.with_context(|| {
                format!("`executors.{name}.kind` isn't set: `local`, `noop`, `workers` or `kubernetes`")
            })?;
            chosen.insert(name.clone(), Chosen { kind, slots: executor.slots.unwrap_or(kind.slots()) });
        }
        if chosen.is_empty() {
            let kind = Kind::Local;
            chosen.insert(kind.name(), Chosen { kind, slots: kind.slots() });
        }
        for (kind, why) in [(Kind::Local, "a machine has one"), (Kind::Workers, "a service has one")] {
            let same = chosen.iter().filter(|(_, chosen)| chosen.kind == kind);
            let same: Vec<&str> = same.map(|(name, _)| name.as_str()).collect();
            if same.len() > 1 {
                let (names, kind) = (dags::suggest::list(same, "and"), kind.name());
                bail!("the executors {names} are all of kind `{kind}`: {why}");
            }
        }
        let default = &self.scheduler.default_executor;
        if !chosen.contains_key(default) {
            let names = dags::suggest::list(chosen.keys().map(ExecutorName::as_str), "and");
            bail!("`scheduler.default_executor` is `{default}`, but the executors are {names}");
        }
        Ok(chosen)
    }

    /// What DAGs may ask for, as far as settings say it.
    pub(crate) fn installation(&self) -> anyhow::Result<Installation> {
        let executors = self.executors()?.into_iter().map(|(name, Chosen { kind, slots })| {
            let cluster = self.executors.get(&name).filter(|_| kind == Kind::Kubernetes);
            let offer = Offer {
                kind: kind.name().to_string(),
                slots: (slots != u32::MAX).then_some(slots),
                // Each member is a pod of its own, and nobody tells it where the first one is.
                gangs: kind != Kind::Kubernetes,
                // What runs nothing lacks nothing. No worker can say yet that it has resources of other kinds.
                gpus: match kind {
                    Kind::Local => false,
                    Kind::Noop | Kind::Workers => true,
                    Kind::Kubernetes => cluster.is_some_and(|cluster| cluster.gpu_resource.is_some()),
                },
                gpu_models: cluster.map(clusters::gpu_models),
                custom: kind == Kind::Noop,
                pods: cluster.map(clusters::pods),
            };
            (name, offer)
        });
        Ok(Installation {
            default_executor: self.scheduler.default_executor.clone(),
            executors: executors.collect(),
            routes: None,
        })
    }
}

impl Settings {
    /// The broker's URL.
    pub(crate) fn broker(&self) -> anyhow::Result<&str> {
        let url = self.broker.url.as_ref().map(super::Secret::expose);
        url.context("`broker.url` isn't set: name a RabbitMQ server, `amqps://user:password@host/vhost`")
    }

    /// Workers on other machines, if there is an executor for them.
    pub(crate) fn fleet(&self) -> anyhow::Result<Option<FleetSettings>> {
        let executors = self.executors()?;
        let Some((name, _)) = executors.into_iter().find(|(_, chosen)| chosen.kind == Kind::Workers) else {
            return Ok(None);
        };
        Ok(Some(FleetSettings { name, broker: self.broker()?.to_owned() }))
    }

    /// The executors whose attempts run elsewhere and ask the task API.
    pub(crate) fn elsewhere(&self) -> anyhow::Result<BTreeSet<ExecutorName>> {
        let elsewhere = |chosen: &Chosen| matches!(chosen.kind, Kind::Workers | Kind::Kubernetes);
        Ok(self
            .executors()?
            .into_iter()
            .filter(|(_, chosen)| elsewhere(chosen))
            .map(|(name, _)| name)
            .collect())
    }

    /// Where workers and pods ask, if there may be any.
    pub(crate) fn asked(&self) -> anyhow::Result<Option<Asked>> {
        if self.elsewhere()?.is_empty() {
            return Ok(None);
        }
        let workers = self.fleet()?.map(|fleet| fleet.name);
        Ok(Some(Asked { workers, listen: self.task_api()? }))
    }

    /// Where workers ask.
    fn task_api(&self) -> anyhow::Result<TcpSettings> {
        let TaskApi { listen, tls_certificate, tls_key, trusted_proxies: proxies, hosts } =
            self.task_api.clone();
        let tls = match (tls_certificate, tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => bail!("`task_api.tls_certificate` and `task_api.tls_key` need each other: set both or none"),
        };
        Ok(TcpSettings { listen, tls, proxies, hosts })
    }

    /// The database of `standalone`, which may be a file of this machine, and of commands beside it.
    pub(crate) fn own_database(&self) -> anyhow::Result<String> {
        match self.database.url.as_ref().map(super::Secret::expose) {
            Some(url) => Ok(url.to_owned()),
            None => Ok(format!("sqlite:{}", self.data()?.join("updraft.db").display())),
        }
    }
}

impl Monitoring {
    /// What opens the monitoring port, if it needs something.
    pub(crate) fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let failed =
            || format!("failed to read the file of the token (`monitoring.token_file`), {}", file.display());
        let text = std::fs::read_to_string(file).with_context(failed)?;
        let token = text.trim();
        if token.len() < TOKEN_BYTES_MIN {
            bail!(
                "the token in {} (`monitoring.token_file`) is shorter than {TOKEN_BYTES_MIN} bytes: make one with \
                 `openssl rand -hex 32`",
                file.display()
            );
        }
        Ok(Some(token.to_owned()))
    }
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
