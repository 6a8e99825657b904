//! A fleet of one worker. What the scheduler and the database know of dispatches is kept here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use api::{
    Tcp, TcpSettings,
    execution::{AttemptError, Attempts, By, Current, Parts},
};
use bytes::Bytes;
use dags::{
    ids::{BundleId, DispatchId, ShardId, TenantId, WorkerId},
    time::Span,
};
use engine::{
    dispatch::{Dispatch, End, Held, Kill, News, Receipt, Report},
    execution::{Answer, Ending, Go, Ticket},
    fleet::WorkerSpec,
};
use executor::{
    Capacity, Error, Executor, Work,
    conformance::{self, Harness},
    fleet::{self, Event, FleetExecutor},
    log::LogChunk,
    worker::{self, Api, Watch},
};
use migrations::{
    Db, Role,
    seal::{MasterKey, Sealer},
    store::worker::{Hashed, Limits},
};
use plugins::{
    context::AttemptContext,
    policy::Policy,
    token::{self, Keys, Kind},
};
use rustix::process::{Pid, Signal};
use scheduler::{
    attempts::DbAttempts,
    bundle,
    facts::DbFacts,
    objects::{Objects, PutError},
};
use tests::proxy::{Flow, Proxy};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{LOG_BYTES_MAX, broker::Vhost};

/// Reports that may wait for a case.
const REPORTS_MAX: usize = 10_000;
const SLOTS: u32 = 100;

/// What has been handed over, as the database would have it.
#[derive(Debug, Default)]
struct Given {
    works: BTreeMap<DispatchId, Work>,
    claims: BTreeMap<DispatchId, WorkerId>,
    ended: BTreeSet<(DispatchId, u32)>,
    confirmed: BTreeSet<(DispatchId, u32)>,
    /// Whether workers that are heard don't join.
    closed: bool,
}

impl Given {
    fn is_over(&self, id: DispatchId) -> bool {
        let members = self.works.get(&id).map_or(1, |work| work.dispatch.members);
        (0..members).all(|member| self.confirmed.contains(&(id, member)))
    }
}

type Shared = Arc<Mutex<Given>>;

fn lock(given: &Shared) -> MutexGuard<'_, Given> {
    given.lock().unwrap()
}

/// Gives dispatches to workers; everything else is as in production.
struct Stored {
    given: Shared,
    keys: Keys,
    objects: DbAttempts,
}

impl Attempts for Stored {
    async fn run(
        &self,
        worker: WorkerId,
        tickets: Vec<Ticket>,
    ) -> Result<Vec<Answer<AttemptContext>>, AttemptError> {
        let mut given = lock(&self.given);
        let answer = |ticket: &Ticket| {
            let id = ticket.dispatch;
            if given.is_over(id) {
                return Answer::Gone;
            }
            if *given.claims.entry(id).or_insert(worker) != worker {
                return Answer::Taken;
            }
            given.works.get(&id).cloned().map_or(Answer::Gone, |Work { dispatch, context }| {
                Answer::Go(Box::new(Go { token: self.keys.attempt(id, worker), dispatch, context }))
            })
        };
        Ok(tickets.iter().map(answer).collect())
    }

    async fn run_pod(
        &self,
        _claimant: uuid::Uuid,
        _member: u32,
        _ticket: Ticket,
    ) -> Result<Answer<AttemptContext>, AttemptError> {
        Ok(Answer::Gone)
    }

    async fn put_end(&self, _dispatch: DispatchId, _member: u32, _end: End) -> Result<(), AttemptError> {
        Err(AttemptError::Gone)
    }

    async fn ending(&self, _dispatch: DispatchId, _member: u32) -> Result<Option<Ending>, AttemptError> {
        Err(AttemptError::Gone)
    }

    async fn current(&self, dispatch: DispatchId, by: By) -> Result<Current, AttemptError> {
        let By::Worker(worker) = by else { return Err(AttemptError::Gone) };
        let given = lock(&self.given);
        let work = given.works.get(&dispatch).filter(|_| !given.is_over(dispatch));
        let work = work.filter(|_| given.claims.get(&dispatch) == Some(&worker)).ok_or(AttemptError::Gone)?;
        Ok(Current {
            dispatch,
            bundle: work.dispatch.bundle.clone(),
            members: work.dispatch.members,
            member: None,
        })
    }

    async fn put_log(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
        lines: Bytes,
        last: bool,
    ) -> Result<(), AttemptError> {
        self.objects.put_log(dispatch, member, offset, lines, last).await.map_err(|error| match error {
            PutError::Refused(why) => AttemptError::Refused(why),
            PutError::Io(error) => AttemptError::Unavailable(error.to_string()),
        })
    }

    async fn put_result(
        &self,
        dispatch: DispatchId,
        members: u32,
        text: Bytes,
    ) -> Result<String, AttemptError> {
        let stored = self.objects.put_result(dispatch, members, text).await;
        let stored = stored.map_err(|error| AttemptError::Unavailable(error.to_string()))?;
        stored.ok_or_else(|| AttemptError::Refused("too many results".to_owned()))
    }

    async fn bundle(&self, bundle: BundleId) -> std::io::Result<Option<fs::File>> {
        self.objects.bundle(bundle).await
    }
}

/// The executor, with the choice of a worker that the engine makes.
#[derive(Clone)]
pub(crate) struct Placed {
    fleet: FleetExecutor,
    worker: WorkerId,
    given: Shared,
}

impl Executor for Placed {
    async fn submit(&self, mut work: Work) -> Result<(), Error> {
        work.dispatch.worker = Some(self.worker);
        work.context.member = 0;
        lock(&self.given).works.entry(work.dispatch.id).or_insert_with(|| work.clone());
        self.fleet.submit(work).await
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        self.fleet.kill(Kill { worker: Some(self.worker), ..kill }).await
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        self.fleet.list().await
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        {
            let mut given = lock(&self.given);
            if given.ended.contains(&(dispatch, member)) {
                given.confirmed.insert((dispatch, member));
            }
        }
        self.fleet.confirm(dispatch, member).await
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        self.fleet.logs(dispatch, member, offset).await
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        self.fleet.capacity().await
    }
}

/// The scheduler's side, until it is restarted.
struct Client {
    placed: Placed,
    reports: mpsc::Receiver<Report>,
    cancel: CancellationToken,
    service: JoinHandle<()>,
}

pub(crate) struct Fleet {
    root: tempfile::TempDir,
    work: PathBuf,
    db: Db,
    /// Between everybody and the broker.
    pub(crate) way: Proxy,
    /// Between the scheduler's side and that.
    own: Proxy,
    /// The broker's URL without its port, and the virtual host.
    broker: (String, String),
    api: String,
    keys: Keys,
    objects: Objects,
    bundle: BundleId,
    given: Shared,
    epoch: u64,
    end: CancellationToken,
    client: Client,
    /// Those that were lost, with their ways: they are still there, and nobody hears them.
    lost: Vec<(Client, Proxy)>,
    _vhost: Vhost,
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (work, empty) = (root.path().join("work"), root.path().join("empty"));
        for folder in [&work, &empty] {
            fs::create_dir(folder).unwrap();
        }
        let db = Db::connect(&format!("sqlite:{}", root.path().join("db").display()), Role::Service)
            .await
            .unwrap();
        migrations::migrate::up(&db).await.unwrap();
        let objects = Objects::open(&root.path().join("objects")).unwrap();
        let scan = bundle::scan(&empty).unwrap();
        bundle::store(&scan, &objects).unwrap();
        let vhost = Vhost::new();
        let url = vhost.url();
        let (before, rest) = url.rsplit_once('@').unwrap();
        let (address, name) = rest.split_once('/').unwrap();
        let way = Proxy::open(vec![address.parse().unwrap()]).await.unwrap();
        let own = behind(&way).await;
        let broker = (before.to_owned(), name.to_owned());
        let (keys, given, end) = (Keys::new(&[7; 32]), Shared::default(), CancellationToken::new());
        let master = MasterKey::load_or_create(&root.path().join("key")).unwrap();
        let api = serve(&db, Sealer::new(master), &objects, &keys, &given, &end).await;
        let for_worker = through(&broker, &way);
        run_worker(root.path(), &db, &api, &for_worker, ("worker1", SLOTS), &end).await;
        let client = Client::open(&db, &through(&broker, &own), &keys, &objects, &given, 1).await;
        let (bundle, epoch, lost) = (scan.digest, 1, Vec::new());
        Self {
            root,
            work,
            db,
            way,
            own,
            broker,
            api,
            keys,
            objects,
            bundle,
            given,
            epoch,
            end,
            client,
            lost,
            _vhost: vhost,
        }
    }

    /// Another worker joins. It ends what it runs when it is drained.
    pub(crate) async fn join(&self, name: &str, slots: u32) -> CancellationToken {
        let broker = through(&self.broker, &self.way);
        run_worker(self.root.path(), &self.db, &self.api, &broker, (name, slots), &self.end).await
    }

    /// The workers that are heard.
    pub(crate) fn workers(&self) -> BTreeSet<WorkerId> {
        self.client.placed.fleet.workers()
    }

    /// A worker is lost, as the engine finds when it has been silent for too long.
    pub(crate) async fn lose(&self, worker: WorkerId) {
        lock(&self.given).closed = true;
        self.client.placed.fleet.lost(worker).await.unwrap();
    }

    /// Who is heard may join again.
    pub(crate) fn admit(&self) {
        lock(&self.given).closed = false;
    }

    /// The executor as it places work on another worker.
    pub(crate) fn on(&self, worker: WorkerId) -> Placed {
        Placed { worker, ..self.client.placed.clone() }
    }

    async fn open_client(&self) -> Client {
        let url = through(&self.broker, &self.own);
        Client::open(&self.db, &url, &self.keys, &self.objects, &self.given, self.epoch).await
    }

    /// The supervisor of the worker, if one runs.
    fn supervisor(&self) -> Option<Pid> {
        let folder = self.root.path().to_str().unwrap().to_owned();
        fs::read_dir("/proc").unwrap().find_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let mut words = command.split(|byte| *byte == 0);
            let ours =
                words.any(|word| word == b"supervise") && String::from_utf8_lossy(&command).contains(&folder);
            ours.then(|| Pid::from_raw(pid)).flatten()
        })
    }
}

/// A way of one's own that ends where another one begins.
async fn behind(way: &Proxy) -> Proxy {
    Proxy::open(vec![SocketAddr::from(([127, 0, 0, 1], way.port()))]).await.unwrap()
}

/// The broker's URL over a way.
fn through((before, name): &(String, String), way: &Proxy) -> String {
    format!("{before}@127.0.0.1:{}/{name}", way.port())
}

/// Answers workers; gives the URL.
async fn serve(
    db: &Db,
    sealer: Sealer,
    objects: &Objects,
    keys: &Keys,
    given: &Shared,
    end: &CancellationToken,
) -> String {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let settings = TcpSettings { listen, tls: None, proxies: Vec::new(), hosts: Vec::new() };
    let tcp = Tcp::bind(settings).await.unwrap();
    let url = format!("http://{}", tcp.address());
    let facts = DbFacts::new(db.clone(), sealer);
    let objects = DbAttempts::new(db.clone(), facts, objects.clone(), Policy::default(), keys.clone());
    let attempts = Stored { given: given.clone(), keys: keys.clone(), objects };
    let executor = "workers".parse().unwrap();
    let parts = Parts {
        db: db.clone(),
        keys: keys.clone(),
        executor: Some(executor),
        shard: ShardId::DEFAULT,
        attempts,
    };
    drop(spawn(api::execution::serve(tcp, parts, end.clone())));
    url
}

/// Enrols a machine and starts a worker there; says how it is drained.
async fn run_worker(
    root: &Path,
    db: &Db,
    api: &str,
    broker: &str,
    (name, slots): (&str, u32),
    end: &CancellationToken,
) -> CancellationToken {
    let secret = token::random(Kind::Enrolment).unwrap();
    let (hash, prefix) = token::stored(Kind::Enrolment, &secret).unwrap();
    let limits = Limits { tenants: Some([TenantId::DEFAULT].into()), ..Limits::default() };
    let hashed = Hashed { hash, prefix };
    migrations::store::worker::enrol(db, "ann", &hashed, &limits, Span::seconds(600)).await.unwrap();
    let credential = worker::enrol(api, &secret, name, &worker::Watch::default()).await.unwrap();
    let machine = worker::capacity(slots).unwrap();
    let options = worker::Options {
        api: Api::new(api, credential).unwrap(),
        broker: broker.to_owned(),
        data: root.join(name),
        spec: WorkerSpec {
            worker: WorkerId(uuid::Uuid::nil()),
            slots,
            cpu_milli: machine.cpu_milli,
            memory_bytes: machine.memory_bytes,
            gpus: BTreeMap::new(),
            custom: BTreeMap::new(),
            queues: BTreeSet::new(),
            tenants: None,
        },
        labels: BTreeMap::new(),
        run: worker::Run::Local {
            program: std::env::current_exe().unwrap(),
            arguments: vec!["supervise".into()],
        },
        drain_max: Duration::from_mins(1),
        watch: Watch::default(),
    };
    let (drain, end) = (CancellationToken::new(), end.clone());
    let drained = drain.clone();
    drop(spawn(async move {
        worker::run(options, drained, end).await.unwrap();
    }));
    drain
}

impl Client {
    /// Opens the executor as a new owner, and waits until it has heard the worker.
    async fn open(db: &Db, url: &str, keys: &Keys, objects: &Objects, given: &Shared, epoch: u64) -> Self {
        let (sender, events) = mpsc::channel(16);
        let options = fleet::Options {
            url: url.to_owned(),
            shard: ShardId::DEFAULT,
            epoch,
            keys: keys.clone(),
            kept: Arc::new(objects.clone()),
        };
        let (executor, service) = fleet::open(options, sender);
        let cancel = CancellationToken::new();
        let service = spawn(service.run(cancel.clone()));
        let (reports, received) = mpsc::channel(REPORTS_MAX);
        let (joined, mut heard) = watch::channel(None);
        drop(spawn(hear(executor.clone(), db.clone(), given.clone(), events, reports, joined)));
        let worker = heard.wait_for(Option::is_some).await.unwrap().unwrap();
        while executor.workers().is_empty() {
            tokio::task::yield_now().await;
        }
        let placed = Placed { fleet: executor, worker, given: given.clone() };
        // As after any takeover: what may not have got there is handed over again.
        let open: Vec<Work> = {
            let given = lock(given);
            let open = given.works.iter().filter(|(id, _)| !given.is_over(**id));
            open.map(|(_, work)| work.clone()).collect()
        };
        for work in open {
            placed.submit(work).await.unwrap();
        }
        Self { placed, reports: received, cancel, service }
    }
}

/// What the scheduler does with what it hears: workers join, reports are durable at once, and what is over is confirmed again.
async fn hear(
    executor: FleetExecutor,
    db: Db,
    given: Shared,
    mut events: mpsc::Receiver<Event>,
    reports: mpsc::Sender<Report>,
    joined: watch::Sender<Option<WorkerId>>,
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Hearing | Event::Deaf => {}
            Event::Beat(beat) if beat.leaving => executor.lost(beat.worker).await.unwrap(),
            Event::Beat(beat) => {
                if !lock(&given).closed && !executor.workers().contains(&beat.worker) {
                    let found = migrations::store::worker::present(&db, beat.worker).await.unwrap();
                    executor.joined(found.unwrap().spec).await.unwrap();
                    joined.send_if_modified(|first| first.replace(first.unwrap_or(beat.worker)).is_none());
                }
            }
            Event::Reports { reports: new, .. } => {
                for report in new {
                    let Report { dispatch, member, seq, .. } = report;
                    let over = lock(&given).confirmed.contains(&(dispatch, member));
                    if matches!(report.news, News::Ended(_)) {
                        lock(&given).ended.insert((dispatch, member));
                    }
                    let receipt = Receipt { dispatch, member, seq, ended: over };
                    if executor.settle(vec![receipt]).is_err() || !over && reports.send(report).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    }
}

impl Harness for Fleet {
    type Executor = Placed;

    fn executor(&self) -> Placed {
        self.client.placed.clone()
    }

    fn reports(&mut self) -> &mut mpsc::Receiver<Report> {
        &mut self.client.reports
    }

    fn folder(&self) -> &Path {
        &self.work
    }

    fn work(&self, command: &str) -> Work {
        // The bundle is on the worker, in a folder of its own.
        let command = format!("cd {}\n{command}", self.work.display());
        let mut work = conformance::work(PathBuf::new(), &command);
        work.dispatch = Dispatch { bundle: self.bundle.clone(), ..work.dispatch };
        work
    }

    fn without_its_files(&self, work: &mut Work) {
        work.dispatch.bundle = BundleId("0".repeat(64).into());
    }

    fn forgets_logs(&self) -> bool {
        // They are the service's.
        false
    }

    fn log_bytes_max(&self) -> u64 {
        LOG_BYTES_MAX
    }

    async fn restart_client(&mut self) {
        self.client.cancel.cancel();
        (&mut self.client.service).await.unwrap();
        self.epoch += 1;
        self.client = self.open_client().await;
    }

    async fn lose_client(&mut self) {
        // The broker isn't told either.
        self.own.set(Flow::Stalled);
        let own = behind(&self.way).await;
        let own = std::mem::replace(&mut self.own, own);
        self.epoch += 1;
        let client = self.open_client().await;
        self.lost.push((std::mem::replace(&mut self.client, client), own));
    }

    async fn kill_runtime(&mut self) {
        if let Some(pid) = self.supervisor() {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for client in self.lost.iter().map(|(client, _)| client).chain([&self.client]) {
            client.cancel.cancel();
        }
        self.end.cancel();
        while let Some(pid) = self.supervisor() {
            // An error says that it has ended.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            std::thread::yield_now();
        }
    }
}
