//! A place for a service: a database, a virtual host and folders of its own, and its processes.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use api::{client::Client, v2::dag_runs::TriggerBody};
use dags::{
    ids::{DagId, TenantId},
    time::Timestamp,
};
use engine::{
    rows::{RunRow, TaskRow},
    state::RunState,
};
use migrations::{
    Db, Role as DbRole, TenantScope,
    store::{self, Window},
};
use rustix::process::{Pid, Signal};
use sqlx::{Connection as _, Executor as _};
use tests::management::Management;

use crate::{clock, proc};

const SCOPE: TenantScope = TenantScope::new(TenantId::DEFAULT);
const EVERYTHING: Window = Window { limit: 1_000_000, offset: 0 };
/// A measurement that takes longer than this has failed.
const LIMIT: Duration = Duration::from_mins(5);
/// How long a process may take to end when it is asked to.
const END_MAX: Duration = Duration::from_secs(20);
/// Between two looks at what is awaited; the figures themselves are from stored times.
const LOOK: Duration = Duration::from_millis(20);

/// A server that the environment names.
fn server(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} isn't set: run `cargo xtask bench --program service`, which starts the servers")
    })
}

/// Fails unless PostgreSQL keeps what it acknowledged through a power cut.
pub(crate) async fn is_durable() -> anyhow::Result<()> {
    let mut database = sqlx::PgConnection::connect(&server("UPDRAFT_TEST_POSTGRES_URL")?).await?;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut database).await?;
        ensure!(value == "on", "PostgreSQL's {setting} is {value:?}: start it with `--durable`");
    }
    Ok(())
}

/// The program that was built beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("a benchmark lies in target/PROFILE/deps")?;
    let program = folder.join("updraft");
    ensure!(program.is_file(), "{} isn't there: build it with the same profile", program.display());
    Ok(program)
}

/// An address that nobody has at present.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(crate) struct Place {
    folder: tempfile::TempDir,
    postgres: String,
    database: String,
    management: Management,
    vhost: String,
    task_api: SocketAddr,
    pub(crate) db: Db,
}

/// A process of the service.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    monitoring: SocketAddr,
    log: PathBuf,
}

/// The processes of a service in their roles, with one worker.
pub(crate) struct Service(pub(crate) Vec<Process>);

/// What was spent so far.
pub(crate) struct Spent {
    /// CPU time of our processes, in seconds.
    roles: Vec<(String, f64)>,
    /// That of PostgreSQL and of RabbitMQ, whoever else uses them.
    servers: Vec<(&'static str, f64)>,
    /// That of the machine.
    all: f64,
    /// How often something was done.
    counts: Vec<(&'static str, f64)>,
}

/// The steps of a start, as `docs/metrics.md` describes them.
const STEPS: [&str; 4] = ["created", "queued", "handed_over", "running"];

/// The seconds that each step took so far, and how often it was taken.
pub(crate) struct Steps(Vec<(f64, f64)>);

/// Programs whose CPU time is shown, as people call them and as the kernel does.
const SERVERS: [(&str, &str); 2] = [("PostgreSQL", "postgres"), ("RabbitMQ", "beam.smp")];

/// What is counted, and the beginning of its metrics.
const COUNTS: [(&str, &str); 2] = [
    ("commits", "updraft_commits_total{outcome=\"done\"}"),
    ("messages to the worker", "updraft_broker_messages_total{outcome=\"stored\"}"),
];

impl Place {
    /// Everything but processes, with the present schema.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let server_url = server("UPDRAFT_TEST_POSTGRES_URL")?;
        let amqp = server("UPDRAFT_TEST_AMQP_URL")?;
        let management = Management::new(&server("UPDRAFT_TEST_RABBITMQ_URL")?)?;
        let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
        let mut admin = sqlx::PgConnection::connect(&server_url).await?;
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        management.send("PUT", &format!("/api/vhosts/{name}"), "")?;
        let (base, _) = server_url.rsplit_once('/').context("the server's URL names no database")?;
        let url = format!("{base}/{name}");
        let place = Self {
            folder: tempfile::tempdir()?,
            postgres: server_url.clone(),
            database: name.clone(),
            management,
            vhost: name.clone(),
            task_api: free()?,
            db: Db::connect(&url, DbRole::Service).await?,
        };
        for folder in ["dags", "data"] {
            fs::create_dir(place.path(folder))?;
        }
        let settings = format!(
            "[node]\ndata = '{}'\n[database]\nurl = '{url}'\n[dags]\nfolder = '{}'\n[api]\nsocket = '{}'\n\
             [broker]\nurl = '{amqp}/{name}'\n[executors.workers]\nkind = \"workers\"\n[task_api]\nlisten = '{}'\n\
             [scheduler]\ndefault_executor = \"workers\"\ndefault_pool_slots = -1\n[log]\nfilter = \"warn\"\n",
            place.path("data").display(),
            place.path("dags").display(),
            place.socket().display(),
            place.task_api,
        );
        fs::write(place.settings(), settings)?;
        fs::set_permissions(place.settings(), fs::Permissions::from_mode(0o600))?;
        place.call(&["migrate", "up"])?;
        Ok(place)
    }

    /// Removes the database and the virtual host.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let Self { postgres, database, management, vhost, db, .. } = self;
        db.close().await;
        management.send("DELETE", &format!("/api/vhosts/{vhost}"), "")?;
        let mut admin = sqlx::PgConnection::connect(&postgres).await?;
        admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {database} WITH (FORCE)"))).await?;
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> PathBuf {
        self.path("updraft.toml")
    }

    fn socket(&self) -> PathBuf {
        self.path("api.sock")
    }

    /// Runs a command to its end, for what it prints.
    fn call(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let output =
            Command::new(program()?).args(arguments).arg("--config").arg(self.settings()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(output.stdout)
    }

    /// Starts a process of a role, with further settings.
    pub(crate) fn start(&self, role: &str, settings: &[String]) -> anyhow::Result<Process> {
        let mut more = settings.to_vec();
        if role == "worker" {
            let (data, token) = (self.path("worker"), self.path("token"));
            if !data.join("worker.credential").exists() {
                fs::write(&token, self.call(&["workers", "enrol"])?)?;
            }
            more.extend([
                format!("node.data={}", data.display()),
                format!("worker.api=http://{}", self.task_api),
                format!("worker.enrolment_token_file={}", token.display()),
            ]);
        }
        let monitoring = free()?;
        more.push(format!("monitoring.listen={monitoring}"));
        let log = self.path(&format!("{role}.log"));
        let mut command = Command::new(program()?);
        command.arg(role).arg("--config").arg(self.settings());
        for setting in &more {
            command.args(["--set", setting]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        Ok(Process { name: role.to_owned(), child, monitoring, log })
    }

    /// Starts all roles and waits until each of them is ready.
    pub(crate) fn serve(&self, worker: &[String]) -> anyhow::Result<Service> {
        let mut service = self.begin(worker)?;
        service.ready()?;
        Ok(service)
    }

    /// Starts all roles.
    pub(crate) fn begin(&self, worker: &[String]) -> anyhow::Result<Service> {
        Ok(Service(vec![
            self.start("scheduler", &[])?,
            self.start("api", &[])?,
            self.start("worker", worker)?,
        ]))
    }

    /// Writes DAG files, all of them before the service sees one, and waits until they are active.
    pub(crate) async fn load(&self, files: &[(String, String)]) -> anyhow::Result<()> {
        let new = tempfile::tempdir_in(self.folder.path())?;
        for (name, text) in files {
            fs::write(new.path().join(name), text)?;
        }
        for (name, _) in files {
            fs::rename(new.path().join(name), self.path("dags").join(name))?;
        }
        let texts: Vec<&str> = files.iter().map(|(name, _)| name.trim_end_matches(".yaml")).collect();
        let last = DagId::parse(texts.last().context("no files")?)?;
        self.until("the DAGs are active", async || {
            Ok(store::dag::get(&self.db, SCOPE, &last).await?.map(|_| ()))
        })
        .await
    }

    /// Asks for a run over the API. Returns when it was asked.
    pub(crate) async fn trigger(&self, dag: &str, run: &str) -> anyhow::Result<Timestamp> {
        let body = TriggerBody { dag_run_id: Some(run.to_owned()), ..TriggerBody::default() };
        let asked = clock::now();
        Client::new(&self.socket()).trigger(dag, &body, None).await?;
        Ok(asked)
    }

    /// The runs of a DAG when so many have ended, each a success.
    pub(crate) async fn ended(&self, dag: &str, count: usize) -> anyhow::Result<Vec<RunRow>> {
        let filter = store::run::RunFilter { dag_id: Some(DagId::parse(dag)?), ..Default::default() };
        let runs = self
            .until(&format!("{count} runs of {dag} end"), async || {
                let runs = store::run::list(&self.db, SCOPE, &filter, EVERYTHING).await?.rows;
                Ok((runs.iter().filter(|run| run.ended_at.is_some()).count() == count).then_some(runs))
            })
            .await?;
        for run in &runs {
            ensure!(
                run.state == RunState::Success,
                "{} of {dag} is {:?}: {:?}",
                run.run_name,
                run.state,
                run.reason
            );
        }
        Ok(runs)
    }

    /// The tasks of a run, each of which ran on the worker, once.
    pub(crate) async fn tasks(&self, run: &RunRow) -> anyhow::Result<Vec<TaskRow>> {
        let filter = store::task_instance::TaskFilter::default();
        let mut rows = store::task_instance::list(&self.db, SCOPE, run.run, &filter, EVERYTHING).await?.rows;
        let ran = |row: &TaskRow| row.worker.is_some() && row.dispatch_n == 1 && row.try_number == 1;
        ensure!(rows.iter().all(ran), "a task of {} didn't run on the worker at the first try", run.dag_id);
        rows.sort_by(|a, b| a.task.cmp(&b.task));
        Ok(rows)
    }

    /// Waits until there is something.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if start.elapsed() > LIMIT {
                bail!("waited {LIMIT:?} until {what}\n{}", self.logs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A connection to the service's database.
    pub(crate) async fn database(&self) -> anyhow::Result<sqlx::PgConnection> {
        let (base, _) = self.postgres.rsplit_once('/').context("the server's URL names no database")?;
        Ok(sqlx::PgConnection::connect(&format!("{base}/{}", self.database)).await?)
    }

    /// The broker's URL.
    pub(crate) fn broker(&self) -> anyhow::Result<String> {
        Ok(format!("{}/{}", server("UPDRAFT_TEST_AMQP_URL")?, self.vhost))
    }

    fn logs(&self) -> String {
        let entries = fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let logs =
            entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
        let texts = logs.map(|log| fs::read_to_string(log.path()).unwrap_or_default());
        texts.map(|text| text.lines().take(20).collect::<Vec<_>>().join("\n")).collect::<Vec<_>>().join("\n")
    }
}

impl Service {
    /// Waits until each process says that it is ready.
    pub(crate) fn ready(&mut self) -> anyhow::Result<()> {
        self.0.iter_mut().try_for_each(Process::ready)
    }

    pub(crate) fn spent(&self) -> anyhow::Result<Spent> {
        let roles = self.0.iter().map(|process| Ok((process.name.clone(), proc::cpu(process.pid())?)));
        let servers = SERVERS.iter().map(|(name, program)| Ok((*name, proc::cpu_of_program(program)?)));
        let metrics: Vec<String> = self.0.iter().map(Process::metrics).collect::<anyhow::Result<_>>()?;
        let count = |start: &str| -> f64 {
            let lines = metrics.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with(start));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        Ok(Spent {
            roles: roles.collect::<anyhow::Result<_>>()?,
            servers: servers.collect::<anyhow::Result<_>>()?,
            all: proc::cpu_of_all()?,
            counts: COUNTS.iter().map(|(name, start)| (*name, count(start))).collect(),
        })
    }

    /// How long each step of a start took since then, in milliseconds on average.
    pub(crate) fn steps(&self, before: &Steps) -> anyhow::Result<String> {
        let now = self.steps_so_far()?;
        let mut texts = Vec::new();
        for ((step, before), now) in STEPS.iter().zip(&before.0).zip(&now.0) {
            let count = now.1 - before.1;
            if count > 0.0 {
                texts.push(format!("{step} {:.1} ms", (now.0 - before.0) / count * 1e3));
            }
        }
        Ok(format!("on average: {}", texts.join(", ")))
    }

    /// The sums and counts of the steps so far.
    pub(crate) fn steps_so_far(&self) -> anyhow::Result<Steps> {
        let metrics: String = self.0.iter().map(Process::metrics).collect::<anyhow::Result<_>>()?;
        let value = |name: &str| -> f64 {
            let values =
                metrics.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            values.sum()
        };
        let step = |step: &&str| {
            let of = |what| value(&format!("updraft_scheduling_delay_seconds_{what}{{phase=\"{step}\"}}"));
            (of("sum"), of("count"))
        };
        Ok(Steps(STEPS.iter().map(step).collect()))
    }

    /// What was spent since then, for people.
    pub(crate) fn since(&self, before: &Spent) -> anyhow::Result<String> {
        let now = self.spent()?;
        let mut seconds: Vec<(&str, f64)> = Vec::new();
        for ((name, before), (_, now)) in before.roles.iter().zip(&now.roles) {
            seconds.push((name, now - before));
        }
        for ((name, before), (_, now)) in before.servers.iter().zip(&now.servers) {
            seconds.push((name, now - before));
        }
        let known = seconds.iter().map(|(_, seconds)| seconds).sum::<f64>();
        seconds.push(("others", now.all - before.all - known));
        let seconds: Vec<String> =
            seconds.iter().map(|(name, seconds)| format!("{name} {seconds:.2}")).collect();
        let counts: Vec<String> = before
            .counts
            .iter()
            .zip(&now.counts)
            .map(|((name, before), (_, now))| format!("{} {name}", now - before))
            .collect();
        Ok(format!("CPU seconds: {}; {}", seconds.join(", "), counts.join(", ")))
    }

    /// How long each process has run so far, in seconds.
    pub(crate) fn ran(&self) -> anyhow::Result<Vec<(String, f64)>> {
        self.0.iter().map(|process| Ok((process.name.clone(), proc::ran(process.pid())?))).collect()
    }

    /// Ends every process in order.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        while let Some(process) = self.0.pop() {
            process.end()?;
        }
        Ok(())
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ask(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.monitoring)?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn is_ready(&self) -> bool {
        self.ask("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    fn metrics(&self) -> anyhow::Result<String> {
        self.ask("/metrics")
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while !self.is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, fs::read_to_string(&self.log)?);
            }
            if start.elapsed() > LIMIT {
                bail!("{} isn't ready: {}", self.name, fs::read_to_string(&self.log)?);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(
                    status.success(),
                    "{} ended with {status}: {}",
                    self.name,
                    fs::read_to_string(&self.log)?
                );
                return Ok(());
            }
            ensure!(
                start.elapsed() < END_MAX,
                "{} doesn't end: {}",
                self.name,
                fs::read_to_string(&self.log)?
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
