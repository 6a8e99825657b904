//! The roles as processes of their own, with one file of settings, on PostgreSQL.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use engine::state::{RunState, TaskState};

use crate::{
    history,
    site::{LATE, SOON, Service, Site, program},
};

/// A place for a service of several processes.
pub(crate) struct Fleet {
    pub(crate) site: Site,
}

impl Fleet {
    /// A migrated database and the settings that all processes share.
    pub(crate) async fn new() -> Self {
        let fleet = Self { site: Site::postgres_without_schema().await };
        let site = &fleet.site;
        let text = format!(
            "[node]\ndata = '{}'\n[database]\nurl = {:?}\n[dags]\nfolder = '{}'\n[log]\nformat = \"json\"\n",
            site.path("data").display(),
            site.url().expect("invariant: PostgreSQL has a URL"),
            site.path("dags").display(),
        );
        fs::write(fleet.settings(), text).unwrap();
        fs::set_permissions(fleet.settings(), fs::Permissions::from_mode(0o600)).unwrap();
        let done = fleet.call(&["migrate", "up"]);
        assert!(done.status.success(), "{done:?}");
        fleet
    }

    fn settings(&self) -> PathBuf {
        self.site.path("updraft.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).arg("--config").arg(self.settings());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a role; `settings` are `key=value`.
    pub(crate) fn start(&self, role: &str, name: &str, settings: &[&str]) -> Service {
        let mut command = self.command(&[role]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        self.site.spawn(name, command)
    }

    /// Starts a scheduler and waits until it owns the shard.
    pub(crate) async fn owner(&self, name: &str, settings: &[&str]) -> Service {
        let scheduler = self.start("scheduler", name, settings);
        self.says(&scheduler, "the shard is ours").await;
        scheduler
    }

    /// Starts a scheduler and waits until it stands by.
    pub(crate) async fn standby(&self, name: &str, settings: &[&str]) -> Service {
        let scheduler = self.start("scheduler", name, settings);
        self.says(&scheduler, "standing by").await;
        scheduler
    }

    /// Waits until a process has written that to its log.
    pub(crate) async fn says(&self, service: &Service, what: &str) {
        self.site
            .until(SOON, &format!("a process says {what:?}"), async || {
                let log = service.log();
                if log.contains(what) { Ok(()) } else { Err(log) }
            })
            .await;
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command for the service, on one of its sockets.
pub(crate) fn ask(socket: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new(program()).args(arguments).arg("--socket").arg(socket).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

const DAG: &str =
    "dag: split\ntasks:\n  one: { bash: echo a line of one }\n  two: { needs: one, bash: echo two }\n";

#[tokio::test]
async fn a_scheduler_and_two_apis_are_one_service() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("split.yaml", DAG);
    let status = text(&fleet.call(&["migrate", "status"]));
    assert!(status.contains("applied   m0001_first") && !status.contains("missing"), "{status}");

    let sockets = ["first", "second"].map(|name| site.path(&format!("{name}.sock")));
    let apis = ["first", "second"].map(|name| {
        let socket = format!("api.socket={}", site.path(&format!("{name}.sock")).display());
        fleet.start("api", name, &[&socket])
    });
    let scheduler = fleet.owner("scheduler", &[]).await;
    site.dag_is_there("split").await;
    for socket in &sockets {
        site.until(SOON, "the API answers", async || {
            socket.exists().then_some(()).ok_or("no socket".to_owned())
        })
        .await;
    }

    ask(&sockets[0], &["runs", "trigger", "split", "--run", "by_hand"]);
    let run = site.ended("split", "by_hand").await;
    assert_eq!(run.state, RunState::Success);
    history::is_legal(site, &run).await;
    let shown = ask(&sockets[1], &["runs", "list", "split"]);
    assert!(shown.contains("by_hand") && shown.contains("success"), "{shown}");
    let log = site
        .until(SOON, "the log is kept", async || {
            let log = ask(&sockets[1], &["tasks", "logs", "split", "by_hand", "one"]);
            if log.contains("a line of one") { Ok(log) } else { Err(log) }
        })
        .await;
    assert!(!log.contains("line of two"), "{log}");

    // Each ends when it is asked to, with nothing left behind.
    scheduler.interrupt();
    let (status, log) = scheduler.exit(LATE).await;
    assert_eq!(status.code(), Some(0), "{log}");
    for api in apis {
        api.interrupt();
        let (status, log) = api.exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{log}");
    }
    assert!(sockets.iter().all(|socket| !socket.exists()));
    assert_eq!(site.task(&run, "two").await.state, TaskState::Success);
}

#[tokio::test]
async fn what_a_role_cannot_work_with_stops_its_start() {
    let fleet = Fleet::new().await;
    let refused = |arguments: &[&str], settings: &[&str]| {
        let mut command = fleet.command(arguments);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{arguments:?} {settings:?}: {}", text(&output));
        text(&output)
    };
    for role in ["scheduler", "api"] {
        let said = refused(&[role], &["database.url=sqlite:x.db"]);
        assert!(said.contains("`database.url`") && said.contains("SQLite serves one process"), "{said}");
        let said = refused(&[role], &["keys.master_file=/nowhere/master.key"]);
        assert!(said.contains("keys.master_file") && said.contains("/nowhere/master.key"), "{said}");
        let said = refused(&[role], &["scheduler.lease_ms=1"]);
        assert!(
            said.contains("`scheduler.lease_ms` is \"1\" (--set), but must be a whole number from"),
            "{said}"
        );
    }
    let said = refused(&["scheduler"], &["scheduler.default_executor=gpu"]);
    assert!(said.contains("`scheduler.default_executor` is `gpu`, but the executors are `local`"), "{said}");
    let said = refused(&["migrate", "down"], &[]);
    assert!(said.contains("--yes"), "{said}");

    let down = fleet.call(&["migrate", "down", "--steps", "1", "--yes"]);
    assert!(down.status.success(), "{}", text(&down));
    for role in ["scheduler", "api"] {
        let said = refused(&[role], &[]);
        assert!(said.contains("run `updraft migrate"), "{said}");
    }
}
