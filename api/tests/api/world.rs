//! A service over a new file, with an owner or without, and a client of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Seek as _, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use api::{
    Api, Archive, Bundles, LogChunk, LogLine, LogOf, Objects, ObjectsError, Parts, RateSettings, Socket,
    Stream,
    client::{Client, Method},
};
use dags::{
    bundle::{Compiled, Contents, Size, Unusable},
    canonical,
    compile::{self, NoFiles},
    diagnostic::Source,
    ids::{BundleId, ExecutorName, TenantId},
    installation::{Installation, Offer},
    time::Span,
};
use engine::{
    command::{ActivatedDag, Base, Command},
    execution::Waits,
};
use migrations::{
    Db, Role, TenantScope,
    seal::{MasterKey, Sealer},
    store::{
        bundle::{self, NewBundle, NewVersion},
        inbox::{self, Progress},
    },
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::owner;

/// DAGs that the tests start with.
pub(crate) const DAGS: &str = r#"
dag: etl
doc: |
  Loads things.

  And more.
owner: data
tags: [sales, daily]
schedule: { cron: "0 3 * * *", missed: none }
start_date: 2026-01-01
params:
  region: { type: string, enum: [eu, us], default: eu }
tasks:
  extract: { bash: "true" }
  load: { needs: extract, bash: "true", retries: 1, retry_delay: 10s, pool: warehouse }
---
dag: fan
tasks:
  list: { bash: "true" }
  each: { needs: list, map: { item: { output: list } }, bash: "true" }
---
dag: broken
tasks:
  boom: { bash: "false" }
  after: { needs: boom, bash: "true" }
---
dag: endless
tasks:
  stuck: { bash: "sleep 1000" }
---
dag: big
tasks:
  large: { bash: "true", outlets: [report] }
---
dag: reader
schedule: { assets: [report] }
tasks:
  read: { bash: "true" }
"#;

/// Logs and results in a folder, as lines of text.
struct Folder(PathBuf);

impl Objects for Folder {
    async fn log(&self, of: &LogOf, offset: u64) -> Result<LogChunk, ObjectsError> {
        let path = self.0.join(of.dispatch.to_string());
        let Ok(text) = std::fs::read_to_string(path) else {
            return Ok(LogChunk { lines: Vec::new(), next: offset, complete: of.over });
        };
        let all = text.lines().count() as u64;
        if offset > all {
            return Err(ObjectsError::Offset(offset));
        }
        // Two lines a piece, so that there are several.
        let lines: Vec<LogLine> = text
            .lines()
            .skip(offset as usize)
            .take(2)
            .map(|line| LogLine {
                at: Span::millis(1),
                stream: Stream::Stdout,
                text: line.to_owned(),
                continues: false,
            })
            .collect();
        let next = offset + lines.len() as u64;
        Ok(LogChunk { lines, next, complete: of.over && next == all })
    }

    async fn result(&self, _tenant: TenantId, digest: &str) -> Result<Vec<u8>, ObjectsError> {
        std::fs::read(self.0.join(digest)).map_err(|_| ObjectsError::Missing)
    }

    async fn waits(&self, _of: &LogOf) -> Result<Option<Waits>, ObjectsError> {
        Ok(None)
    }
}

/// Bundles whose archive is the text of their one file, and whose address is the text's hash.
#[derive(Clone, Default)]
struct Texts(Arc<Mutex<BTreeMap<BundleId, String>>>);

impl Bundles for Texts {
    async fn receive(&self, bundle: BundleId, mut archive: Archive) -> Result<Size, Unusable> {
        let read = move || {
            let mut text = String::new();
            archive.read_to_string(&mut text).map(|_| text)
        };
        let read = tokio::task::spawn_blocking(read).await.unwrap();
        let text = read.map_err(|error| Unusable::Refused(error.to_string()))?;
        if address(&text) != bundle {
            return Err(Unusable::Refused("the archive has another address".to_owned()));
        }
        let received = Size { bytes: text.len() as u64, files: 1 };
        self.0.lock().unwrap().insert(bundle, text);
        Ok(received)
    }

    fn installation(&self) -> Installation {
        let local = ExecutorName::parse("local").unwrap();
        let offer = Offer {
            kind: "local".to_owned(),
            slots: Some(16),
            gangs: true,
            gpus: false,
            gpu_models: None,
            custom: false,
            pods: None,
        };
        Installation {
            default_executor: local.clone(),
            executors: BTreeMap::from([(local, offer)]),
            routes: None,
        }
    }

    async fn pack(&self, bundle: BundleId) -> Result<std::fs::File, Unusable> {
        let text = self.0.lock().unwrap().get(&bundle).cloned().ok_or(Unusable::Missing)?;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        Ok(file)
    }

    async fn compile(
        &self,
        _tenant: TenantId,
        bundle: BundleId,
        _routes: BTreeSet<String>,
    ) -> Result<Contents, Unusable> {
        let text = self.0.lock().unwrap().get(&bundle).cloned().ok_or(Unusable::Missing)?;
        let compiled =
            compile::compile(&Source::new("dags.yaml", text.as_str()), &plugins::catalog(), &NoFiles);
        let mut broken = BTreeMap::new();
        if compiled.has_errors() {
            broken.insert("dags.yaml".to_owned(), format!("{:?}", compiled.diagnostics));
        }
        let dags = compiled.dags.into_iter().map(|dag| {
            let (connections, variables) = (BTreeSet::new(), BTreeSet::new());
            let version = canonical::version(&dag);
            let source = "dags.yaml".to_owned();
            (dag.dag_id.clone(), Compiled { model: Arc::new(dag), version, source, connections, variables })
        });
        Ok(Contents {
            size: Size { bytes: text.len() as u64, files: 1 },
            dags: dags.collect(),
            broken,
            default_executor: "local".parse().unwrap(),
        })
    }

    async fn file(&self, bundle: BundleId, path: String) -> Result<String, Unusable> {
        let found = self.0.lock().unwrap().get(&bundle).cloned();
        found.filter(|_| path == "dags.yaml").ok_or(Unusable::Missing)
    }
}

/// The address of a text in a world.
pub(crate) fn address(text: &str) -> BundleId {
    BundleId(hex::encode(Sha256::digest(text)).into())
}

/// Everything that a test works with. Ends with the test.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) db: Db,
    pub(crate) client: Client,
    pub(crate) cancel: CancellationToken,
    pub(crate) running: JoinSet<()>,
    wake: Arc<Notify>,
    texts: Texts,
    /// How many requests are answered by what is served next; any number unless a test says otherwise.
    pub(crate) rates: RateSettings,
    /// What was served last.
    pub(crate) api: Option<Api>,
}

impl World {
    /// A service with an owner and the DAGs of [`DAGS`], none of them paused.
    pub(crate) async fn new() -> Self {
        let mut world = Self::without_owner(Api::OWNER_WAIT).await;
        let settled = world.serve(TenantId::DEFAULT, "updraft.sock", Api::OWNER_WAIT);
        let owner = owner::own(world.db.clone(), world.wake.clone(), settled, world.cancel.clone());
        world.running.spawn(owner);
        world.activate(TenantId::DEFAULT, DAGS).await;
        world
    }

    /// A service that nobody takes requests from.
    pub(crate) async fn without_owner(owner_wait: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("updraft.db").display());
        let db = Db::connect(&url, Role::Owner).await.unwrap();
        migrations::migrate::up(&db).await.unwrap();
        std::fs::write(folder.path().join("ab12"), "[1,2,3,4]").unwrap();
        let socket = folder.path().join("alone.sock");
        let mut world = Self {
            client: Client::new(&socket),
            folder,
            db,
            cancel: CancellationToken::new(),
            running: JoinSet::new(),
            wake: Arc::new(Notify::new()),
            texts: Texts::default(),
            rates: RateSettings { account: 0, tenant: 0 },
            api: None,
        };
        world.serve(TenantId::DEFAULT, "alone.sock", owner_wait);
        world
    }

    /// Serves a tenant on a socket of that name, and makes its client the world's.
    pub(crate) fn serve(&mut self, tenant: TenantId, socket: &str, owner_wait: Duration) -> Arc<Notify> {
        let key = MasterKey::load_or_create(&self.folder.path().join("master.key")).unwrap();
        let settled = Arc::new(Notify::new());
        let wake = self.wake.clone();
        let api = Api::new(Parts {
            db: self.db.clone(),
            sealer: Sealer::new(key),
            tenant,
            wake: Arc::new(move || wake.notify_one()),
            settled: settled.clone(),
            objects: Folder(self.folder.path().to_owned()),
            bundles: self.texts.clone(),
            default_pool_slots: 128,
            owner_wait,
            rates: self.rates,
            console: Vec::new(),
            monitor: None,
            config: Vec::new(),
        });
        api.start();
        let socket = Socket::bind(&self.folder.path().join(socket)).unwrap();
        self.client = Client::new(socket.path());
        self.api = Some(api.clone());
        let cancel = self.cancel.clone();
        self.running.spawn(async move { api::serve(socket, api, cancel).await.unwrap() });
        settled
    }

    /// Stores and activates DAGs of a tenant, as `standalone` does with a folder.
    pub(crate) async fn activate(&self, tenant: TenantId, text: &str) {
        let compiled = compile::compile(&Source::new("dags.yaml", text), &plugins::catalog(), &NoFiles);
        assert!(!compiled.has_errors(), "{:?}", compiled.diagnostics);
        let versions: Vec<NewVersion> = compiled
            .dags
            .into_iter()
            .map(|dag| NewVersion {
                version: canonical::version(&dag),
                model: Arc::new(dag),
                source: "dags.yaml".to_owned(),
            })
            .collect();
        let digest = BundleId("b".repeat(64).into());
        self.texts.0.lock().unwrap().insert(digest.clone(), text.to_owned());
        let scope = TenantScope::new(tenant);
        let activated = versions.iter().map(|new| ActivatedDag {
            dag_id: new.model.dag_id.clone(),
            version: new.version.clone(),
            bundle: None,
            paused_upon_creation: false,
        });
        let command =
            Command::ActivateBundle { bundle: digest.clone(), base: Base::Any, dags: activated.collect() };
        let new = NewBundle { digest, bytes: 1, files: 1, created_by: None, versions };
        bundle::store(&self.db, scope, &new).await.unwrap();
        let ticket = inbox::insert(&self.db, scope, "test", &command, None).await.unwrap();
        self.wake.notify_one();
        loop {
            match inbox::progress(&self.db, scope, ticket.id).await.unwrap() {
                Progress::Taken { outcome, .. } => return drop(outcome.unwrap()),
                _ => tokio::task::yield_now().await,
            }
        }
    }

    /// A call and its answer: the status, and the body as JSON.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string());
        self.call_text(method, path, body.as_deref()).await
    }

    pub(crate) async fn call_text(&self, method: Method, path: &str, body: Option<&str>) -> (u16, Value) {
        let (status, text) = self.client.raw(method, path, body).await.unwrap();
        let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect(&text) };
        (status, value)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str) -> (u16, Value) {
        self.call(Method::PUT, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, None).await
    }

    /// Triggers a run of that name and waits until it has ended.
    pub(crate) async fn run(&self, dag: &str, run: &str) -> String {
        let body = serde_json::json!({ "logical_date": null, "dag_run_id": run });
        let (status, answer) = self.post(&format!("/dags/{dag}/dagRuns"), body).await;
        assert_eq!(status, 200, "{answer}");
        self.ended(dag, run).await
    }

    /// Waits until a run has ended, and says how.
    pub(crate) async fn ended(&self, dag: &str, run: &str) -> String {
        let path = format!("/dags/{dag}/dagRuns/{run}/wait?interval=0.02");
        let (status, lines) = self.client.raw(Method::GET, &path, None).await.unwrap();
        assert_eq!(status, 200);
        let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        last["state"].as_str().unwrap().to_owned()
    }

    /// Ends owner and service, and waits until they have.
    pub(crate) async fn close(mut self) {
        self.cancel.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }
}

/// An answer without what differs from run to run.
pub(crate) fn stable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(stable_text(text)),
        Value::Array(list) => list.into_iter().map(stable).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| {
                let value = match key.as_str() {
                    "duration" if !value.is_null() => "<seconds>".into(),
                    "owner" | "triggering_user_name" if value.is_string() => "<user>".into(),
                    // Kept: dates that the request or the DAG gave.
                    "from_date" | "to_date" | "logical_date" => value,
                    "next_dagrun_logical_date" | "id" if value.is_string() => "<varies>".into(),
                    _ => stable(value),
                };
                (key, value)
            })
            .collect(),
        other => other,
    }
}

fn stable_text(text: String) -> String {
    let is_time =
        text.len() > 10 && text.as_bytes()[4] == b'-' && text.parse::<dags::time::Timestamp>().is_ok();
    if is_time {
        return "<time>".to_owned();
    }
    if text.len() == 67 && text.starts_with("v1:") {
        return "<version>".to_owned();
    }
    text.replace(&"b".repeat(64), "<bundle>")
}
