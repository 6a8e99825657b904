//! A place for a service: a folder of DAGs, a folder of data and a database of its own, all gone at the end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use dags::{
    ids::{DagId, RunName, TaskId, TenantId},
    time::Timestamp,
};
use engine::{
    command::{self, Trigger},
    rows::{RunRow, TaskRow},
};
use migrations::{
    Db, Role, TenantScope,
    store::{self, Window},
};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use sqlx::{Connection as _, Executor as _};

pub(crate) const SCOPE: TenantScope = TenantScope::new(TenantId::DEFAULT);
const EVERYTHING: Window = Window { limit: 100_000, offset: 0 };

/// How long a test waits for what ought to happen soon, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long a test waits for a whole run.
pub(crate) const LATE: Duration = Duration::from_secs(100);

pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// The server and the name of the test's database there.
    server: Option<(String, String)>,
    url: Option<String>,
    pub(crate) db: Db,
}

impl Site {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("data/updraft.db").display());
        let db = opened(&url).await;
        Self::with(folder, None, None, db)
    }

    pub(crate) async fn postgres() -> Self {
        let site = Self::postgres_without_schema().await;
        migrations::migrate::up(&site.db).await.unwrap();
        site
    }

    /// A PostgreSQL database that nobody has migrated.
    pub(crate) async fn postgres_without_schema() -> Self {
        let server = std::env::var("UPDRAFT_TEST_POSTGRES_URL").expect(
            "UPDRAFT_TEST_POSTGRES_URL isn't set: these tests need a PostgreSQL server; run `make test`, or start one \
             with `cargo xtask services up postgres` and set the variable to its URL",
        );
        let name = format!("t_{}", uuid::Uuid::now_v7().simple());
        let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (base, _) = server.rsplit_once('/').expect("the URL of the server names a database");
        let url = format!("{base}/{name}");
        let db = Db::connect(&url, Role::Service).await.unwrap();
        Self::with(tempfile::tempdir().unwrap(), Some((server, name)), Some(url), db)
    }

    fn with(
        folder: tempfile::TempDir,
        server: Option<(String, String)>,
        url: Option<String>,
        db: Db,
    ) -> Self {
        for name in ["dags", "effects"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder, server, url, db }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a DAG file as editors do: beside its place, then moved there.
    pub(crate) fn write_dag(&self, name: &str, text: &str) {
        let beside = self.path("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path("dags").join(name)).unwrap();
    }

    /// A file that tasks append lines to.
    pub(crate) fn effects(&self) -> PathBuf {
        self.path("effects/lines")
    }

    /// What tasks appended, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.effects()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn start(&self) -> Service {
        self.start_on("data")
    }

    /// Starts a service with another data folder on the same database.
    pub(crate) fn start_on(&self, data: &str) -> Service {
        self.start_as(data, &[])
    }

    /// Starts a service with further arguments.
    pub(crate) fn start_with(&self, more: &[&str]) -> Service {
        self.start_as("data", more)
    }

    /// Starts a service whose arguments say which database it uses.
    pub(crate) fn start_with_own_database(&self, more: &[&str]) -> Service {
        self.spawn("data", self.standalone("data", more))
    }

    /// Starts a service whose disk can be full ([`Service::fill_disk`]).
    pub(crate) fn start_on_small_disk(&self) -> Service {
        let standalone = self.standalone("data", &[]);
        let mut command = Command::new("sh");
        // A file that would become too long is an error, as on a full disk, and not the end.
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        command.arg(standalone.get_program()).args(standalone.get_args());
        let log = self.path("data.log");
        let mut copy = fs::File::options().append(true).create(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Its log isn't on that disk.
        let mut said = child.stderr.take().expect("it was asked for");
        std::thread::spawn(move || std::io::copy(&mut said, &mut copy));
        Service { child, log, log_start: 0 }
    }

    /// Where a service listens that nobody has signed in to yet.
    pub(crate) async fn address(&self, service: &Service) -> String {
        self.until(SOON, "the port is open", async || {
            let log = service.log();
            let found = log.split("updraft login ").nth(1).and_then(|rest| rest.split('`').next());
            found.map(str::to_owned).ok_or(log)
        })
        .await
    }

    fn standalone(&self, data: &str, more: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("standalone").arg("--dags").arg(self.path("dags")).arg("--data").arg(self.path(data));
        command.args(["--listen", "127.0.0.1:0"]).args(more);
        command
    }

    fn start_as(&self, data: &str, more: &[&str]) -> Service {
        let mut command = self.standalone(data, more);
        if let Some(url) = &self.url {
            command.arg("--database").arg(url);
        } else if data != "data" {
            command.arg("--database").arg(format!("sqlite:{}", self.path("data/updraft.db").display()));
        }
        self.spawn(data, command)
    }

    /// Starts a process that writes its log to the file of that name.
    pub(crate) fn spawn(&self, name: &str, mut command: Command) -> Service {
        let log = self.path(&format!("{name}.log"));
        let log_start = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let stderr = fs::File::options().append(true).create(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Service { child, log, log_start }
    }

    /// From now on the database refuses that this task succeeds.
    pub(crate) async fn forbid_success_of(&self, task: &str) {
        let rule = format!("task_id = '{task}' AND state = 'success'");
        self.sql(
            &format!(
                "CREATE TRIGGER forbidden BEFORE UPDATE ON task_instance
                 WHEN NEW.task_id = '{task}' AND NEW.state = 'success'
                 BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END"
            ),
            &format!("ALTER TABLE task_instance ADD CONSTRAINT forbidden CHECK (NOT ({rule}))"),
        )
        .await;
    }

    /// Takes that back.
    pub(crate) async fn allow_success(&self) {
        self.sql("DROP TRIGGER forbidden", "ALTER TABLE task_instance DROP CONSTRAINT forbidden").await;
    }

    /// Changes what is stored behind the service's back.
    pub(crate) async fn sql(&self, sqlite: &str, postgres: &str) {
        if let Some(url) = &self.url {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            connection.execute(sqlx::AssertSqlSafe(postgres.to_owned())).await.unwrap();
        } else {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path("data/updraft.db"));
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            connection.execute(sqlx::AssertSqlSafe(sqlite.to_owned())).await.unwrap();
            connection.close().await.unwrap();
        }
    }

    /// The database's URL; none if each data folder has a file of its own.
    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The supervisor of this place, if one runs.
    pub(crate) fn supervisor(&self) -> Option<Pid> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        fs::read_dir("/proc").unwrap().find_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid: i32 = name.to_str()?.parse().ok()?;
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let mut words = command.split(|byte| *byte == 0);
            let is_ours =
                words.any(|word| word == b"supervise") && String::from_utf8_lossy(&command).contains(&folder);
            is_ours.then(|| Pid::from_raw(pid)).flatten()
        })
    }

    /// Asks for a run by the inbox, and waits until it is there.
    pub(crate) async fn trigger(&self, dag: &str, run: &str) {
        self.trigger_with(dag, run, None).await;
    }

    /// The same, for a logical date.
    pub(crate) async fn trigger_for(&self, dag: &str, run: &str, date: &str) {
        self.trigger_with(dag, run, Some(date.parse().unwrap())).await;
    }

    async fn trigger_with(&self, dag: &str, run: &str, logical_date: Option<Timestamp>) {
        self.ask_for(dag, run, logical_date).await;
        self.until(SOON, &format!("the run {run} of {dag} exists"), async || {
            self.find_run(dag, run).await.map(|_| ()).ok_or_else(|| "no such run".to_owned())
        })
        .await;
    }

    /// Asks for a run by the inbox.
    pub(crate) async fn ask_for(&self, dag: &str, run: &str, logical_date: Option<Timestamp>) {
        let trigger = Trigger {
            dag_id: DagId::parse(dag).unwrap(),
            run_name: Some(RunName::parse(run).unwrap()),
            logical_date,
            run_after: None,
            conf: serde_json::Map::new(),
            note: None,
            chain_depth: 0,
        };
        let command = command::Command::Trigger(trigger);
        store::inbox::insert(&self.db, SCOPE, "tests", &command, None).await.unwrap();
    }

    pub(crate) async fn dag(&self, dag: &str) -> Option<store::dag::DagWithModel> {
        store::dag::get(&self.db, SCOPE, &DagId::parse(dag).unwrap()).await.unwrap()
    }

    /// Waits until a DAG can be triggered.
    pub(crate) async fn dag_is_there(&self, dag: &str) {
        self.until(SOON, &format!("the DAG {dag} is active"), async || {
            self.dag(dag).await.map(|_| ()).ok_or_else(|| "no such DAG".to_owned())
        })
        .await;
    }

    pub(crate) async fn find_run(&self, dag: &str, run: &str) -> Option<RunRow> {
        let (dag, run) = (DagId::parse(dag).unwrap(), RunName::parse(run).unwrap());
        store::run::by_name(&self.db, SCOPE, &dag, &run).await.unwrap()
    }

    pub(crate) async fn runs(&self, dag: &str) -> Vec<RunRow> {
        let filter = store::run::RunFilter { dag_id: Some(DagId::parse(dag).unwrap()), ..Default::default() };
        store::run::list(&self.db, SCOPE, &filter, EVERYTHING).await.unwrap().rows
    }

    pub(crate) async fn tasks(&self, run: &RunRow) -> Vec<TaskRow> {
        let filter = store::task_instance::TaskFilter::default();
        store::task_instance::list(&self.db, SCOPE, run.run, &filter, EVERYTHING).await.unwrap().rows
    }

    pub(crate) async fn task(&self, run: &RunRow, task: &str) -> TaskRow {
        let task = TaskId::parse(task).unwrap();
        store::task_instance::get(&self.db, SCOPE, run.run, &task, -1).await.unwrap().unwrap()
    }

    /// Waits until a run has ended.
    pub(crate) async fn ended(&self, dag: &str, run: &str) -> RunRow {
        self.until(LATE, &format!("the run {run} of {dag} ends"), async || {
            let row = self.find_run(dag, run).await.ok_or("no such run")?;
            if row.ended_at.is_some() {
                return Ok(row);
            }
            let counts = store::task_instance::counts(&self.db, SCOPE, row.run).await.unwrap();
            Err(format!("{:?}, {counts:?}", row.state))
        })
        .await
    }

    /// Asks again and again until it is so; fails with what was seen last.
    pub(crate) async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<T, String>,
    ) -> T {
        let start = Instant::now();
        loop {
            match look().await {
                Ok(value) => return value,
                Err(seen) if start.elapsed() > limit => {
                    panic!("waited {limit:?} until {what}; seen last: {seen}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Every file of the service, and every row of the database as text, with where it is.
    pub(crate) async fn everything_stored(&self) -> Vec<(String, Vec<u8>)> {
        let mut stored = Vec::new();
        let mut folders = vec![self.path("data")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    stored.push((path.display().to_string(), fs::read(&path).unwrap()));
                }
            }
        }
        let Some(url) = &self.url else { return stored };
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        let tables =
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        for table in tables {
            let text = sqlx::AssertSqlSafe(format!("SELECT to_jsonb(t)::text FROM \"{table}\" AS t"));
            let rows: Vec<String> = sqlx::query_scalar(text).fetch_all(&mut connection).await.unwrap();
            stored.push((format!("table {table}"), rows.join("\n").into_bytes()));
        }
        stored
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        let entries = fs::read_dir(self.folder.path())
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = entries
            .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "log"))
            .collect();
        names.push("data/supervisor/supervisor.log".to_owned());
        for name in names {
            if let Ok(log) = fs::read_to_string(self.path(&name)) {
                let start = log.char_indices().rev().nth(6_000).map_or(0, |(at, _)| at);
                text += &format!("--- the end of {name}\n{}\n", &log[start..]);
            }
        }
        text
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        while let Some(pid) = self.supervisor() {
            kill(pid);
        }
        if let Some((server, name)) = self.server.take() {
            // A thread of its own: the test's runtime can't be blocked on from here.
            let drop = async move {
                let mut admin = sqlx::PgConnection::connect(&server).await?;
                admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let dropped = std::thread::spawn(move || runtime.block_on(drop)).join();
            let fine = matches!(dropped, Ok(Ok(_))) || std::thread::panicking();
            assert!(fine, "the test's database can't be dropped: {dropped:?}");
        }
    }
}

async fn opened(url: &str) -> Db {
    let db = Db::connect(url, Role::Service).await.unwrap();
    migrations::migrate::up(&db).await.unwrap();
    db
}

/// The binary that was built beside this test.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).expect("a test lies in target/<profile>/deps");
    let program = folder.join("updraft");
    assert!(program.is_file(), "{} isn't there: run `cargo xtask build` first", program.display());
    program
}

/// Ends a process at once and waits until it is gone.
pub(crate) fn kill(pid: Pid) {
    match rustix::process::kill_process(pid, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("{pid:?} can't be killed: {error}"),
    }
    let start = Instant::now();
    while alive(pid) {
        assert!(start.elapsed() < SOON, "{pid:?} doesn't die");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process runs; one that only waits to be reaped doesn't.
pub(crate) fn alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// A running service, killed when dropped.
pub(crate) struct Service {
    child: Child,
    log: PathBuf,
    /// Where its own part of the log begins.
    log_start: u64,
}

impl Service {
    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// From now on it can write nothing to files, or everything again. Stands for a full disk.
    pub(crate) fn fill_disk(&self, full: bool) {
        let limit = Rlimit { current: full.then_some(1), maximum: None };
        rustix::process::prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) async fn exit(mut self, limit: Duration) -> (ExitStatus, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(start.elapsed() < limit, "the service doesn't end within {limit:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What this service wrote.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&bytes[self.log_start as usize..]).into_owned()
    }

    /// Waits until it listens for signals and has looked at the folder.
    pub(crate) async fn ready(&self, site: &Site) {
        site.until(SOON, "the service is ready", async || {
            let log = self.log();
            if log.contains("the folder's DAGs are active") { Ok(()) } else { Err(log) }
        })
        .await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
