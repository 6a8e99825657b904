//! `updraft policies`, and what `updraft test` asks a service.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use api::v1::policies::{FORMAT, Policies};
use clap::Args;

use super::{Error, Service, Session, Where};

/// The arguments of `updraft policies`.
#[derive(Debug, Args)]
#[command(
    after_help = "Names and numbers only: nothing of what variables and connections hold is in it. `updraft test FILE --policies \
    ann.json` holds a run to it.\n\nExamples:\n  updraft policies -o policies.json\n  \
    updraft policies --context prod --tenant vision --user ann -o ann.json"
)]
pub struct PoliciesArgs {
    #[command(flatten)]
    pub(super) service: Service,
    /// For whom; oneself if absent
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// The file to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

pub(super) async fn run(session: &mut Session<'_>, args: PoliciesArgs) -> Result<ExitCode, Error> {
    let policies = session.client.policies(args.user.as_deref()).await?;
    let mut text = serde_json::to_string_pretty(&policies).expect("invariant: names and numbers are JSON");
    text.push('\n');
    match &args.output {
        Some(path) => fs::write(path, text).map_err(Error::path("write", path))?,
        None => {
            session
                .screen
                .out
                .write_all(text.as_bytes())
                .map_err(Error::path("write to", "the standard output"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads what `updraft policies` wrote.
pub fn read(path: &Path) -> Result<Policies, Error> {
    let text = fs::read(path).map_err(Error::path("read", path))?;
    let wrong = |why: String| {
        Error::usage(
            format!("{} holds no policies: {why}", path.display()),
            "`updraft policies -o FILE` writes them",
        )
    };
    let policies: Policies = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if policies.format != FORMAT {
        return Err(wrong(format!("the format is {}, and this program knows {FORMAT}", policies.format)));
    }
    Ok(policies)
}

/// Asks the service that one has signed in to under that name.
pub async fn ask(
    context: &str,
    tenant: Option<&str>,
    user: Option<&str>,
    contexts: Option<PathBuf>,
    home: Option<PathBuf>,
) -> Result<Policies, Error> {
    let at = Where { socket: None, context: None, tenant: None, contexts, home };
    Ok(at.named(context, tenant)?.policies(user).await?)
}
