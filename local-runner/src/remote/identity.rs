//! `updraft login`, `logout`, `passwd`, `whoami`, `contexts` and `tokens`: who one is, and where.

use std::{io::IsTerminal as _, process::ExitCode};

use api::{
    auth::Login,
    client::{Client, ClientError},
    v1::me::{PasswordBody, TokenBody},
};
use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use uuid::Uuid;

use super::{
    Error, Service, Session,
    contexts::{Context, Contexts},
    name,
    screen::{Cell, or_dash},
};

/// The arguments of `updraft login`.
#[derive(Debug, Args)]
#[command(
    after_help = "The token is kept in ~/.config/updraft/contexts.json, which nobody else may read. Other commands use it \
    from then on; `--context` names another one.\n\nExample:\n  updraft login http://127.0.0.1:8080 --user admin\n  \
    updraft login https://updraft.example --user ana --context prod < password\n  \
    (cat var/admin-password; echo \"$NEW_PASSWORD\") | updraft login"
)]
pub struct LoginArgs {
    #[command(flatten)]
    pub(super) service: Service,
    /// The service's address
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Whom to sign in as
    #[arg(long, value_name = "NAME", default_value = "admin")]
    user: String,
    /// A PEM file of who signed the service's certificate, if this machine doesn't know them
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<std::path::PathBuf>,
}

/// The arguments of `updraft logout`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft logout")]
pub struct LogoutArgs {
    #[command(flatten)]
    pub(super) service: Service,
}

/// The arguments of `updraft passwd`.
#[derive(Debug, Args)]
#[command(after_help = "Every session and token of the account ends; this context is signed in anew.\n\n\
    Example:\n  updraft passwd")]
pub struct PasswdArgs {
    #[command(flatten)]
    pub(super) service: Service,
}

/// The arguments of `updraft whoami`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft whoami")]
pub struct WhoamiArgs {
    #[command(flatten)]
    pub(super) service: Service,
}

/// The arguments of `updraft contexts`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft contexts list")]
pub struct ContextsArgs {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    command: ContextsCommand,
}

#[derive(Debug, Subcommand)]
enum ContextsCommand {
    /// List the services that one has signed in to
    #[command(after_help = "Example:\n  updraft contexts list")]
    List,
    /// Use another one from now on
    #[command(after_help = "Example:\n  updraft contexts use prod")]
    Use {
        /// Its name
        name: String,
    },
    /// Forget one; its token goes on until it ends
    #[command(after_help = "Example:\n  updraft contexts forget prod")]
    Forget {
        /// Its name
        name: String,
    },
}

/// The arguments of `updraft tokens`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft tokens list")]
pub struct TokensArgs {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// List one's sessions and tokens
    #[command(after_help = "Example:\n  updraft tokens list")]
    List,
    /// Make a token for a program, and show it once
    #[command(
        after_help = "Example:\n  updraft tokens create deploy --scope run:create --scope '*:read' --days 30"
    )]
    Create {
        /// What it is for
        name: String,
        /// What it may be used for, such as `run:create`, `run:*` or `*:read`; everything if none is given
        #[arg(long = "scope", value_name = "KIND:ACTION")]
        scopes: Vec<String>,
        /// How long it lasts, 365 at most
        #[arg(long, value_name = "N", default_value_t = 90)]
        days: u32,
    },
    /// End a session or token
    #[command(after_help = "Example:\n  updraft tokens end 01890000-0000-7000-8000-000000000000")]
    End {
        /// Its id
        id: Uuid,
    },
}

/// What is asked for without showing it; from standard input if that is no terminal.
fn secret(prompt: &str) -> Result<String, Error> {
    let failed = Error::path("read", "the standard input");
    let stdin = std::io::stdin();
    let mut line = String::new();
    if !stdin.is_terminal() {
        stdin.read_line(&mut line).map_err(failed)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let before = tcgetattr(&stdin).map_err(|error| Error::path("read", "the terminal")(error.into()))?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    let set = |modes| tcsetattr(&stdin, OptionalActions::Flush, modes);
    let shown = std::io::Write::write_all(&mut std::io::stderr(), prompt.as_bytes());
    shown.map_err(Error::path("write to", "the standard error"))?;
    set(&hidden).map_err(|error| Error::path("set", "the terminal")(error.into()))?;
    let read = stdin.read_line(&mut line);
    set(&before).map_err(|error| Error::path("set", "the terminal")(error.into()))?;
    let ended = std::io::Write::write_all(&mut std::io::stderr(), b"\n");
    ended.map_err(Error::path("write to", "the standard error"))?;
    read.map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for another password until two entries agree.
fn new_password() -> Result<String, Error> {
    loop {
        let first = secret("New password (12 characters or more): ")?;
        if first.is_empty() && !std::io::stdin().is_terminal() {
            return Err(Error::usage(
                "there is no new password on the standard input",
                "write it on a line of its own, after the present one",
            ));
        }
        if !std::io::stdin().is_terminal() || first == secret("The same again: ")? {
            return Ok(first);
        }
        let said = std::io::Write::write_all(&mut std::io::stderr(), b"They differ. Once more.\n");
        said.map_err(Error::path("write to", "the standard error"))?;
    }
}

pub(super) async fn login(session: &mut Session<'_>, args: LoginArgs) -> Result<ExitCode, Error> {
    let path = args.service.at.contexts_file()?;
    let mut contexts = Contexts::load(&path)?;
    let client = Client::at(&args.url, args.ca_cert.as_deref())?;
    let mut password = secret(&format!("Password of {} at {}: ", args.user, client.place()))?;
    let login = |password: &str| Login { username: args.user.clone(), password: password.to_owned() };
    let mut token = client.sign_in(&login(&password)).await?.access_token;
    let me = client.clone().with_token(&token)?.me().await?;
    if me.must_change_password {
        let said = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"This password is good for setting another one.\n",
        );
        said.map_err(Error::path("write to", "the standard error"))?;
        let new = new_password()?;
        let body = PasswordBody { old: password, new: new.clone() };
        client.clone().with_token(&token)?.change_password(&body).await?;
        password = new;
        token = client.sign_in(&login(&password)).await?.access_token;
    }
    let named = args.service.at.context.clone().unwrap_or_else(|| "default".to_owned());
    let context = Context {
        url: args.url,
        user: args.user.clone(),
        token,
        tenant: args.service.at.tenant.clone(),
        ca_cert: args.ca_cert,
    };
    contexts.contexts.insert(named.clone(), context);
    contexts.current = Some(named.clone());
    contexts.save(&path)?;
    session.screen.line(&format!("signed in to {} as {} (context {named})", client.place(), args.user))?;
    Ok(ExitCode::SUCCESS)
}

/// The context that a command is about, with its name.
fn chosen(service: &Service) -> Result<(std::path::PathBuf, Contexts, String, Context), Error> {
    let path = service.at.contexts_file()?;
    let contexts = Contexts::load(&path)?;
    let found = contexts.choose(service.at.context.as_deref())?.cloned();
    let name = service.at.context.clone().or_else(|| contexts.current.clone());
    match (name, found) {
        (Some(name), Some(found)) => Ok((path, contexts, name, found)),
        _ => {
            Err(Error::usage("there is no context: nobody has signed in", "sign in with `updraft login URL`"))
        }
    }
}

pub(super) async fn logout(session: &mut Session<'_>, args: LogoutArgs) -> Result<ExitCode, Error> {
    let (path, mut contexts, name, context) = chosen(&args.service)?;
    match context.client(None)?.sign_out().await {
        // What is unknown to the service has ended already.
        Ok(()) | Err(ClientError::Refused { status: 401, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    contexts.contexts.remove(&name);
    contexts.current = contexts.current.filter(|current| *current != name);
    contexts.save(&path)?;
    session.screen.line(&format!("signed out of {}", context.url))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn passwd(session: &mut Session<'_>, args: PasswdArgs) -> Result<ExitCode, Error> {
    let (path, mut contexts, name, mut context) = chosen(&args.service)?;
    let old = secret(&format!("Present password of {}: ", context.user))?;
    let new = new_password()?;
    let client = context.client(None)?;
    client.change_password(&PasswordBody { old, new: new.clone() }).await?;
    let login = Login { username: context.user.clone(), password: new };
    context.token = client.sign_in(&login).await?.access_token;
    contexts.contexts.insert(name, context);
    contexts.save(&path)?;
    session.screen.line("the password is changed, and every other session and token has ended")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn whoami(session: &mut Session<'_>) -> Result<ExitCode, Error> {
    let me = session.client.me().await?;
    if session.screen.json {
        session.screen.document(&me)?;
        return Ok(ExitCode::SUCCESS);
    }
    let place = session.client.place();
    session.screen.facts(&[
        ("service", place.into()),
        ("name", me.name.into()),
        ("tenants", me.tenants.join(", ").into()),
        ("platform admin", if me.platform_admin { "yes" } else { "no" }.into()),
    ])?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn contexts(session: &mut Session<'_>, args: ContextsArgs) -> Result<ExitCode, Error> {
    let path = args.service.at.contexts_file()?;
    let mut contexts = Contexts::load(&path)?;
    match args.command {
        ContextsCommand::List => {
            // Without the tokens.
            let rows: Vec<serde_json::Value> = contexts
                .contexts
                .iter()
                .map(|(name, context)| {
                    serde_json::json!({
                        "name": name,
                        "current": contexts.current.as_ref() == Some(name),
                        "url": context.url,
                        "user": context.user,
                        "tenant": context.tenant,
                    })
                })
                .collect();
            let heads = ["CONTEXT", "CURRENT", "SERVICE", "USER", "TENANT"];
            session.screen.list(&rows, rows.len() as u64, heads, |row, _| {
                let text = |key: &str| row[key].as_str().map(str::to_owned);
                let current = if row["current"] == true { "yes" } else { "" };
                [
                    or_dash(text("name")),
                    Cell::from(current),
                    or_dash(text("url")),
                    or_dash(text("user")),
                    or_dash(text("tenant")),
                ]
            })?;
        }
        ContextsCommand::Use { name } => {
            contexts.choose(Some(&name))?;
            contexts.current = Some(name);
            contexts.save(&path)?;
        }
        ContextsCommand::Forget { name } => {
            contexts.choose(Some(&name))?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            contexts.save(&path)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn tokens(session: &mut Session<'_>, args: TokensArgs) -> Result<ExitCode, Error> {
    match args.command {
        TokensCommand::List => {
            let found = session.client.tokens().await?.items;
            let heads = ["ID", "KIND", "NAME", "SCOPES", "USED", "FROM", "ENDS"];
            session.screen.list(&found, found.len() as u64, heads, |token, screen| {
                [
                    token.id.into(),
                    token.kind.clone().into(),
                    token.name.clone().into(),
                    or_dash(token.scopes.as_ref().map(|scopes| scopes.join(" "))),
                    screen.time(Some(token.used_at)),
                    or_dash(token.used_from.clone()),
                    screen.time(Some(token.expires_at)),
                ]
            })?;
        }
        TokensCommand::Create { name: given, scopes, days } => {
            let scopes = (!scopes.is_empty()).then_some(scopes);
            let body = TokenBody { name: name(&given)?, scopes, days: Some(days), tenant: None };
            let made = session.client.make_token(&body).await?;
            if session.screen.json {
                session.screen.document(&made)?;
            } else {
                session.screen.line(&made.token)?;
            }
        }
        TokensCommand::End { id } => {
            session.client.end_token(id).await?;
            session.screen.line(&format!("token {id} has ended"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Context {
    /// The service, as who signed in.
    pub(super) fn client(&self, tenant: Option<&str>) -> Result<Client, Error> {
        let client = Client::at(&self.url, self.ca_cert.as_deref())?.with_token(&self.token)?;
        Ok(client.in_tenant(tenant.map(str::to_owned).or_else(|| self.tenant.clone())))
    }
}
