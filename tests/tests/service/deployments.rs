//! Deploying with the real program to a real service.

use std::{
    fs,
    process::{Command, Output},
};

use api::client::{Client, Method};
use dags::ids::{BundleId, RunName};
use engine::state::RunState;
use migrations::{
    TenantScope,
    store::{self, Window, run::RunFilter},
};

use crate::site::{LATE, SOON, Site, program};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command for the service, and whether it succeeded.
fn ask(site: &Site, arguments: &[&str]) -> (bool, String) {
    let socket = site.path("data/updraft.sock");
    let output = Command::new(program()).args(arguments).arg("--socket").arg(&socket).output().unwrap();
    (output.status.success(), text(&output))
}

fn done(site: &Site, arguments: &[&str]) -> String {
    let (success, said) = ask(site, arguments);
    assert!(success, "{arguments:?}: {said}");
    said
}

/// A place whose service has a tenant without a folder, and a folder that is to go there.
async fn place() -> (Site, crate::site::Service, String) {
    let site = Site::sqlite().await;
    site.write_dag("own.yaml", "dag: own\ntasks:\n  a: { bash: \"true\" }\n");
    let service = site.start();
    service.ready(&site).await;
    done(&site, &["tenants", "create", "sales"]);
    let folder = site.path("work");
    fs::create_dir(&folder).unwrap();
    write(&site, "echo first", 0);
    (site, service, folder.to_string_lossy().into_owned())
}

fn write(site: &Site, script: &str, retries: u32) {
    let text = format!("dag: d\ntasks:\n  a: {{ bash: sh run.sh, retries: {retries} }}\n");
    fs::write(site.path("work/d.yaml"), text).unwrap();
    fs::write(site.path("work/run.sh"), format!("{script} >> {}\n", site.effects().display())).unwrap();
}

async fn sales(site: &Site) -> TenantScope {
    let tenant = store::tenant::by_name(&site.db, "sales").await.unwrap().unwrap();
    TenantScope::new(tenant.id)
}

async fn run(site: &Site, name: &str) {
    done(site, &["dags", "trigger", "d", "--run", name, "--tenant", "sales"]);
    let scope = sales(site).await;
    site.until(LATE, "the run ends", async || {
        let wanted = RunName::parse(name).unwrap();
        let window = Window { limit: 100, offset: 0 };
        let runs = store::run::list(&site.db, scope, &RunFilter::default(), window).await.unwrap().rows;
        let run = runs.into_iter().find(|run| run.run_name == wanted).ok_or("no run")?;
        if run.state == RunState::Success { Ok(()) } else { Err(format!("{:?}", run.state)) }
    })
    .await;
}

#[tokio::test]
async fn what_is_deployed_runs_and_comes_back() {
    let (site, service, folder) = place().await;
    let deploy = ["deploy", &folder, "--tenant", "sales", "--yes"];
    let said = done(&site, &deploy);
    assert!(said.contains("+ d  new") && said.contains("is active, with 1 DAGs"), "{said}");
    run(&site, "one").await;
    assert!(done(&site, &deploy).contains("nothing to do"));

    write(&site, "echo second", 3);
    let plan = done(&site, &["deploy", &folder, "--tenant", "sales", "--plan"]);
    assert!(plan.contains("~ d  changed") && plan.contains("tasks.a.retries: 0 -> 3"), "{plan}");
    let (success, said) = ask(&site, &["deploy", &folder, "--tenant", "sales"]);
    assert!(!success && said.contains("--yes"), "nobody is here to be asked: {said}");
    run(&site, "two").await;
    done(&site, &deploy);
    run(&site, "three").await;
    done(&site, &["deploy", "rollback", "--tenant", "sales", "--yes"]);
    run(&site, "four").await;
    assert_eq!(site.lines(), ["first", "first", "second", "first"]);
    let listed = done(&site, &["deploy", "list", "--tenant", "sales"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");

    // The default tenant's DAGs come from the folder, which keeps its place until it is taken.
    let (success, said) = ask(&site, &["deploy", &folder, "--yes"]);
    assert!(!success && said.contains("dags.folder"), "{said}");
    site.dag_is_there("own").await;
    done(&site, &["deploy", &folder, "--yes", "--take-over"]);
    site.write_dag("late.yaml", "dag: late\ntasks:\n  a: { bash: \"true\" }\n");
    site.until(SOON, "the folder is refused", async || {
        let log = service.log();
        if log.contains("isn't taken over") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(site.dag("late").await.is_none());
}

#[tokio::test]
async fn an_activation_that_is_killed_leaves_one_bundle_whole() {
    let (site, mut service, folder) = place().await;
    done(&site, &["deploy", &folder, "--tenant", "sales", "--yes"]);
    let scope = sales(&site).await;
    for round in 0..4_u32 {
        let more: Vec<String> =
            (0..40).map(|n| format!("dag: d{n}\ntasks:\n  a: {{ bash: echo {round} }}\n")).collect();
        fs::write(site.path("work/more.yaml"), more.join("---\n")).unwrap();
        let socket = site.path("data/updraft.sock");
        let mut command = Command::new(program());
        command.args(["deploy", &folder, "--tenant", "sales", "--yes", "--socket"]).arg(&socket);
        let sent = command.spawn().unwrap();
        // Each round a little later: before it came, in the middle, and after it.
        let base = store::bundle::active(&site.db, scope).await.unwrap().unwrap().digest;
        let known = store::bundle::list(&site.db, scope, 100).await.unwrap().len();
        site.until(SOON, "the bundle is on its way", async || {
            let bundles = store::bundle::list(&site.db, scope, 100).await.unwrap();
            if round == 0 || bundles.len() > known { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        if round == 3 {
            site.until(SOON, "it is asked for", async || {
                let active = store::bundle::active(&site.db, scope).await.unwrap().unwrap().digest;
                if active == base { Err("not yet".to_owned()) } else { Ok(()) }
            })
            .await;
        }
        service.kill();
        drop(sent.wait_with_output());
        service = site.start();
        service.ready(&site).await;
        site.until(SOON, "every DAG is of one bundle", async || {
            let active = store::bundle::active(&site.db, scope).await.unwrap().unwrap().digest;
            let window = Window { limit: 1000, offset: 0 };
            let filter = store::dag::DagFilter::default();
            let dags = store::dag::list(&site.db, scope, &filter, window).await.unwrap().rows;
            let of: Vec<&BundleId> = dags.iter().map(|dag| &dag.row.bundle).collect();
            assert!(of.iter().all(|bundle| **bundle == active), "{active} is active, and there are {of:?}");
            Ok::<_, String>(())
        })
        .await;
    }
}

/// An archive of one entry, whatever it says.
fn hostile(path: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..path.len()].copy_from_slice(path);
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[156] = kind;
    if kind == b'2' || kind == b'1' {
        header[157..168].copy_from_slice(b"/etc/passwd");
    }
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

#[tokio::test]
async fn hostile_archives_are_refused_and_leave_nothing() {
    let (site, service, _) = place().await;
    let client = Client::new(&site.path("data/updraft.sock")).in_tenant(Some("sales".to_owned()));
    let stored = || {
        let names = fs::read_dir(site.path("data/objects/bundles")).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = stored();
    let archives: [(&str, Vec<u8>); 10] = [
        ("above", hostile(b"../../escaped.yaml", b'0', b"x")),
        ("absolute", hostile(b"/tmp/updraft-escaped.yaml", b'0', b"x")),
        ("a symbolic link", hostile(b"link.yaml", b'2', b"")),
        ("a hard link", hostile(b"link.yaml", b'1', b"")),
        ("a device", hostile(b"null", b'3', b"")),
        ("not UTF-8", hostile(b"\xff\xfe.yaml", b'0', b"x")),
        ("a backslash", hostile(b"a\\b.yaml", b'0', b"x")),
        ("too large", hostile(b"large.csv", b'0', &vec![b'x'; (32 << 20) + 1])),
        ("no archive", vec![b'x'; 4096]),
        ("nothing", Vec::new()),
    ];
    for (what, archive) in archives {
        let refused = client.send_bundle(&"a".repeat(64), archive).await.expect_err(what);
        let said = refused.to_string();
        assert!(matches!(refused, api::client::ClientError::Refused { status: 422, .. }), "{what}: {said}");
    }
    // A hidden file has the right address and is none of a bundle's all the same.
    let content = b"dag: x";
    let hidden = dags::bundle::File {
        path: ".hidden.yaml".to_owned(),
        executable: false,
        sha256: digest(content),
        bytes: content.len() as u64,
    };
    let address = dags::bundle::address(&[hidden]);
    let refused = client.send_bundle(&address.to_string(), hostile(b".hidden.yaml", b'0', content)).await;
    let said = refused.expect_err("a hidden file").to_string();
    assert!(said.contains("hidden"), "{said}");
    assert_eq!(stored(), before, "nothing is left behind");
    assert!(!site.path("escaped.yaml").exists() && !site.path("data/escaped.yaml").exists());
    let (status, listed) = client.raw(Method::GET, "/api/updraft/v1/bundles", None).await.unwrap();
    assert!(status == 200 && listed.contains("\"items\":[]"), "{listed}");
    drop(service);
}

fn digest(content: &[u8]) -> [u8; 32] {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("f.yaml"), content).unwrap();
    scheduler::bundle::scan(place.path()).unwrap().files[0].sha256
}
