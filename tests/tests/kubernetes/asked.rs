//! The task API over what a case gives out: everything else is as in production.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use api::{
    Tcp, TcpSettings, TlsFiles,
    execution::{AttemptError, Attempts, By, Current, Parts},
};
use bytes::Bytes;
use dags::ids::{BundleId, DispatchId, ShardId, WorkerId};
use engine::{
    dispatch::End,
    execution::{Answer, Ending, Go, Ticket},
};
use executor::Work;
use migrations::{
    Db, Role,
    seal::{MasterKey, Sealer},
};
use plugins::{
    context::AttemptContext,
    policy::Policy,
    token::{Keys, PodAttempt},
};
use scheduler::{
    attempts::DbAttempts,
    bundle,
    facts::DbFacts,
    objects::{Objects, PutError},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Nothing that a case waits for takes longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What has been handed over, as the database would have it.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) works: BTreeMap<DispatchId, Work>,
    pub(crate) claims: BTreeMap<(DispatchId, u32), Uuid>,
    pub(crate) confirmed: BTreeSet<(DispatchId, u32)>,
}

pub(crate) type Shared = Arc<Mutex<Given>>;

pub(crate) fn lock(given: &Shared) -> MutexGuard<'_, Given> {
    given.lock().unwrap()
}

/// Gives members to pods; everything else is as in production.
pub(crate) struct Stored {
    given: Shared,
    keys: Keys,
    objects: DbAttempts,
}

fn unavailable(error: std::io::Error) -> AttemptError {
    AttemptError::Unavailable(error.to_string())
}

impl Attempts for Stored {
    async fn run(
        &self,
        _worker: WorkerId,
        tickets: Vec<Ticket>,
    ) -> Result<Vec<Answer<AttemptContext>>, AttemptError> {
        Ok(tickets.iter().map(|_| Answer::Gone).collect())
    }

    async fn run_pod(
        &self,
        claimant: Uuid,
        member: u32,
        ticket: Ticket,
    ) -> Result<Answer<AttemptContext>, AttemptError> {
        let mut given = lock(&self.given);
        let dispatch = ticket.dispatch;
        if given.confirmed.contains(&(dispatch, member)) {
            return Ok(Answer::Gone);
        }
        if *given.claims.entry((dispatch, member)).or_insert(claimant) != claimant {
            return Ok(Answer::Taken);
        }
        let token = self.keys.pod_attempt(PodAttempt { dispatch, member, claimant });
        Ok(given.works.get(&dispatch).cloned().map_or(Answer::Gone, |Work { dispatch, context }| {
            Answer::Go(Box::new(Go { token, dispatch, context: AttemptContext { member, ..context } }))
        }))
    }

    async fn put_end(&self, dispatch: DispatchId, member: u32, end: End) -> Result<(), AttemptError> {
        self.objects.put_end(dispatch, member, end).await.map_err(unavailable)
    }

    async fn ending(&self, dispatch: DispatchId, member: u32) -> Result<Option<Ending>, AttemptError> {
        self.objects.ending(dispatch, member).await.map_err(unavailable)
    }

    async fn current(&self, dispatch: DispatchId, by: By) -> Result<Current, AttemptError> {
        let By::Pod { member, claimant } = by else { return Err(AttemptError::Gone) };
        let given = lock(&self.given);
        let claimed = given.claims.get(&(dispatch, member)) == Some(&claimant);
        let open = claimed && !given.confirmed.contains(&(dispatch, member));
        let work = given.works.get(&dispatch).filter(|_| open).ok_or(AttemptError::Gone)?;
        let (bundle, members) = (work.dispatch.bundle.clone(), work.dispatch.members);
        Ok(Current { dispatch, bundle, members, member: Some(member) })
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
            PutError::Io(error) => unavailable(error),
        })
    }

    async fn put_result(
        &self,
        dispatch: DispatchId,
        members: u32,
        text: Bytes,
    ) -> Result<String, AttemptError> {
        let stored = self.objects.put_result(dispatch, members, text).await.map_err(unavailable)?;
        stored.ok_or_else(|| AttemptError::Refused("too many results".to_owned()))
    }

    async fn bundle(&self, bundle: BundleId) -> std::io::Result<Option<fs::File>> {
        self.objects.bundle(bundle).await
    }
}

/// A certificate for that address, in a folder: `ca.pem`, `cert.pem`, `key.pem`.
pub(crate) fn certificate(folder: &Path, address: &str) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority =
        ["req", "-x509", "-days", "2", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&authority[..], &curve].concat());
    let name = format!("subjectAltName=IP:{address}");
    let asked = ["req", "-subj", "/CN=api", "-addext", &name, "-keyout", "key.pem", "-out", "asked.pem"];
    openssl(&[&asked[..], &curve].concat());
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "asked.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-copy_extensions",
        "copyall",
        "-out",
        "cert.pem",
    ]);
    fs::set_permissions(folder.join("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// The task API of a case, with what it gives out.
pub(crate) struct Asked {
    pub(crate) keys: Keys,
    pub(crate) objects: Objects,
    pub(crate) bundle: BundleId,
    pub(crate) url: String,
    pub(crate) authorities: Option<String>,
    pub(crate) given: Shared,
}

impl Asked {
    /// Serves it until `end`: at an address of this machine with TLS, or on loopback without.
    pub(crate) async fn serve(root: &Path, machine: Option<&str>, end: &CancellationToken) -> Self {
        let empty = root.join("empty");
        fs::create_dir(&empty).unwrap();
        let db = Db::connect(&format!("sqlite:{}", root.join("db").display()), Role::Service).await.unwrap();
        migrations::migrate::up(&db).await.unwrap();
        let objects = Objects::open(&root.join("objects")).unwrap();
        let scan = bundle::scan(&empty).unwrap();
        bundle::store(&scan, &objects).unwrap();
        let (keys, given) = (Keys::new(&[7; 32]), Shared::default());
        let sealer = Sealer::new(MasterKey::load_or_create(&root.join("key")).unwrap());
        if let Some(machine) = machine {
            certificate(root, machine);
        }
        let tls = machine.map(|_| TlsFiles { certificate: root.join("cert.pem"), key: root.join("key.pem") });
        let hosts = machine.map(str::to_owned).into_iter().collect();
        let listen: SocketAddr = format!("{}:0", machine.unwrap_or("127.0.0.1")).parse().unwrap();
        let tcp = Tcp::bind(TcpSettings { listen, tls, proxies: Vec::new(), hosts }).await.unwrap();
        let scheme = if machine.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", tcp.address());
        let authorities = machine.map(|_| fs::read_to_string(root.join("ca.pem")).unwrap());
        let facts = DbFacts::new(db.clone(), sealer);
        let attempts = DbAttempts::new(db.clone(), facts, objects.clone(), Policy::default(), keys.clone());
        let attempts = Stored { given: given.clone(), keys: keys.clone(), objects: attempts };
        let parts = Parts { db, keys: keys.clone(), executor: None, shard: ShardId::DEFAULT, attempts };
        drop(tokio::spawn(api::execution::serve(tcp, parts, end.clone())));
        Self { keys, objects, bundle: scan.digest, url, authorities, given }
    }

    /// From now on the attempt may be claimed.
    pub(crate) fn give(&self, work: &Work) {
        lock(&self.given).works.insert(work.dispatch.id, work.clone());
    }

    /// From now on it isn't current any more.
    pub(crate) fn confirm(&self, dispatch: DispatchId, member: u32) {
        lock(&self.given).confirmed.insert((dispatch, member));
    }
}
