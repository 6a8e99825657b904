//! `updraft deploy`.

use std::{
    error::Error as _,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use api::{
    client::ClientError,
    v1::bundles::{Activated, Activation, BundleView, Cause, Plan},
};
use clap::{Args, Subcommand};
use scheduler::bundle::{self, Scan};
use serde::Serialize;

use super::{
    Error, FAILED, Service, Session, plan,
    screen::{or_dash, toned},
};
use crate::terminal::Tone;

/// How much of an address is shown, and the least that names one.
const SHORT: usize = 12;
const SHORTEST: usize = 6;

/// The arguments of `updraft deploy`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The folder becomes a bundle: all of its files but what .gitignore and .updraftignore name and what is \
                  hidden. The service compares it with what it has, and it becomes active whole or not at all; runs \
                  that are under way keep the bundle that they began with.\n\nExit codes: 0 done, or nothing to do; 1 something \
                  stands in the way; 2 a wrong command line.\n\nExamples:\n  updraft deploy dags --context test --plan\n  \
                  updraft deploy dags --context prod --tenant sales --git v1.4 --yes\n  updraft deploy rollback --context prod"
)]
pub struct DeployArgs {
    #[command(flatten)]
    pub(super) service: Service,
    /// The folder of DAGs
    #[arg(default_value = "dags", value_name = "FOLDER")]
    folder: PathBuf,
    /// What the folder had at that git revision, whatever it has now
    #[arg(long, value_name = "REV")]
    git: Option<String>,
    #[command(flatten)]
    apply: ApplyArgs,
    /// Deploy although the service lacks pools, connections, variables or room in the quota
    #[arg(long)]
    despite_missing: bool,
    #[command(subcommand)]
    command: Option<DeployCommand>,
}

#[derive(Debug, Clone, Default, Args)]
struct ApplyArgs {
    /// Only show what would change
    #[arg(long)]
    plan: bool,
    /// Don't ask
    #[arg(long, conflicts_with = "plan")]
    yes: bool,
    /// Take the place of the folder that the service watches, which isn't looked at any more then
    #[arg(long)]
    take_over: bool,
}

#[derive(Debug, Subcommand)]
enum DeployCommand {
    /// List the bundles of a tenant, the active one first
    #[command(after_help = "Example:\n  updraft deploy list --context prod")]
    List,
    /// Go back to the bundle that was active before, or to one that is named
    #[command(after_help = "What the service lacks is shown and doesn't hinder.\n\nExample:\n  \
                            updraft deploy rollback 3f2a9c01 --context prod")]
    Rollback {
        /// The bundle, or the first digits of its address
        bundle: Option<String>,
        #[command(flatten)]
        apply: ApplyArgs,
    },
}

/// What is written for programs.
#[derive(Serialize)]
struct Outcome<'a> {
    plan: &'a Plan,
    /// None if nothing was done.
    activated: Option<&'a Activated>,
}

pub(super) async fn run(session: &mut Session<'_>, args: DeployArgs) -> Result<ExitCode, Error> {
    let DeployArgs { folder, git, apply, despite_missing, command, .. } = args;
    match command {
        Some(DeployCommand::List) => list(session).await,
        Some(DeployCommand::Rollback { bundle, apply }) => {
            let bundles = session.client.bundles().await?.items;
            let target = target(&bundles, bundle.as_deref())?;
            let plan = session.client.plan_bundle(&target).await?;
            finish(session, &plan, &apply, true).await
        }
        None => {
            let plan = match &git {
                Some(revision) => {
                    let tree = tempfile::tempdir().map_err(Error::path("make", "a temporary folder"))?;
                    check_out(&folder, revision, tree.path())?;
                    offer(session, &bundle::scan(&tree.path().join("tree"))?).await?
                }
                None => offer(session, &bundle::scan(&folder)?).await?,
            };
            finish(session, &plan, &apply, despite_missing).await
        }
    }
}

/// Sends a bundle unless the service has it, and has it make a plan.
async fn offer(session: &mut Session<'_>, scan: &Scan) -> Result<Plan, Error> {
    for (path, bytes) in &scan.left_out {
        session.screen.note(&format!("{path} is left out: it has {bytes} bytes"))?;
    }
    if scan.files.is_empty() {
        return Err(Error::usage(
            format!("{} has no file for a bundle", scan.root.display()),
            "name the folder of DAGs; to take all DAGs away, pause or delete them",
        ));
    }
    let digest = scan.digest.to_string();
    let known = session.client.bundles().await?.items.into_iter().any(|bundle| bundle.bundle == digest);
    if known {
        match session.client.plan_bundle(&digest).await {
            Err(ClientError::Refused { code: Some(code), .. }) if code == "bundle.missing" => {}
            plan => return Ok(plan?),
        }
    }
    let mut archive = Vec::new();
    executor::archive::pack_files(&scan.root, &scan.files, &mut archive).map_err(|error| {
        let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Error::Machine { doing: "pack the folder", why }
    })?;
    session.client.send_bundle(&digest, archive).await?;
    Ok(session.client.plan_bundle(&digest).await?)
}

/// Shows a plan, asks, and has it done.
async fn finish(
    session: &mut Session<'_>,
    plan: &Plan,
    apply: &ApplyArgs,
    despite_missing: bool,
) -> Result<ExitCode, Error> {
    if !session.screen.json {
        plan::show(&mut session.screen, plan)?;
    }
    let hinders = |cause: Cause| match cause {
        Cause::File | Cause::Permission => true,
        Cause::Missing => !despite_missing,
        Cause::Folder => !apply.take_over,
    };
    let hindered = plan.troubles.iter().any(|trouble| hinders(trouble.cause));
    if hindered || apply.plan || !plan.changes() {
        if session.screen.json {
            session.screen.document(&Outcome { plan, activated: None })?;
        } else if hindered {
            session.screen.line("nothing was changed: something stands in the way")?;
        } else if !plan.changes() {
            session.screen.line("nothing to do: this bundle is active")?;
        }
        return Ok(if hindered { ExitCode::from(FAILED) } else { ExitCode::SUCCESS });
    }
    if !apply.yes && !agreed(session)? {
        session.screen.line("nothing was changed")?;
        return Ok(ExitCode::from(FAILED));
    }
    let how = Activation { base: plan.base.clone(), despite_missing, take_over: apply.take_over };
    let done = session.client.activate_bundle(&plan.bundle, &how).await?;
    if session.screen.json {
        session.screen.document(&Outcome { plan, activated: Some(&done) })?;
    } else {
        let line = format!("{} is active, with {} DAGs", short(&done.bundle), done.active);
        session.screen.line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks at the terminal.
fn agreed(session: &Session<'_>) -> Result<bool, Error> {
    let stdin = io::stdin();
    if session.screen.json || !stdin.is_terminal() {
        return Err(Error::usage("nobody is here to be asked", "say `--yes`, or only look with `--plan`"));
    }
    let mut out = io::stderr().lock();
    let asked = write!(out, "deploy this to {}? [y/N] ", session.client.place()).and_then(|()| out.flush());
    asked.map_err(Error::path("write to", "the standard error"))?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(Error::path("read", "the standard input"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The bundle that a rollback goes to.
fn target(bundles: &[BundleView], wanted: Option<&str>) -> Result<String, Error> {
    let Some(wanted) = wanted else {
        let mut earlier = bundles.iter().filter(|bundle| !bundle.active && bundle.activated_at.is_some());
        return earlier.next().map(|bundle| bundle.bundle.clone()).ok_or_else(|| {
            Error::usage("no other bundle was ever active here", "`updraft deploy list` shows what there is")
        });
    };
    let found: Vec<&BundleView> = bundles.iter().filter(|bundle| bundle.bundle.starts_with(wanted)).collect();
    match found.as_slice() {
        [one] if wanted.len() >= SHORTEST => Ok(one.bundle.clone()),
        [] => Err(Error::usage(
            format!("no bundle begins with `{wanted}`"),
            "`updraft deploy list` shows what there is",
        )),
        _ => Err(Error::usage(
            format!("`{wanted}` is too short to name one bundle"),
            "write more of its address",
        )),
    }
}

pub(super) fn short(bundle: &str) -> &str {
    bundle.get(..SHORT).unwrap_or(bundle)
}

async fn list(session: &mut Session<'_>) -> Result<ExitCode, Error> {
    let bundles = session.client.bundles().await?.items;
    let heads = ["BUNDLE", "STATE", "FILES", "BYTES", "BY", "SENT", "ACTIVE LAST"];
    session.screen.list(&bundles, bundles.len() as u64, heads, |bundle, screen| {
        let by = if bundle.deployed { or_dash(bundle.created_by.as_ref()) } else { "the folder".into() };
        [
            short(&bundle.bundle).into(),
            if bundle.active { toned("active", Tone::Good) } else { "".into() },
            bundle.files.into(),
            bundle.bytes.into(),
            by,
            screen.time(Some(bundle.created_at)),
            screen.time(bundle.activated_at),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Writes what a folder of a git repository had at a revision into `into/tree`, by an index of its own: neither the checkout nor
/// its index is touched.
fn check_out(folder: &Path, revision: &str, into: &Path) -> Result<(), Error> {
    let index = into.join("index");
    let git = |at: &Path, arguments: &[&str]| -> Result<String, Error> {
        let mut command = Command::new("git");
        command.arg("-C").arg(at).args(arguments).env("GIT_INDEX_FILE", &index);
        let done = command.output().map_err(Error::path("run", "git"))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).trim_end_matches('\n').to_owned());
        }
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        Err(Error::usage(
            format!("git can't give `{revision}` of {}: {said}", folder.display()),
            "name a folder in a git repository, and a branch, tag or commit of it",
        ))
    };
    let verified =
        ["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")].map(str::to_owned);
    let commit = git(folder, &verified.each_ref().map(String::as_str))?;
    let prefix = git(folder, &["rev-parse", "--show-prefix"])?;
    let top = PathBuf::from(git(folder, &["rev-parse", "--show-toplevel"])?);
    git(&top, &["read-tree", &format!("{commit}:{}", prefix.trim_end_matches('/'))])?;
    let tree = into.join("tree");
    std::fs::create_dir(&tree).map_err(Error::path("make", &tree))?;
    git(&top, &["checkout-index", "--all", &format!("--prefix={}/", tree.display())])?;
    Ok(())
}
