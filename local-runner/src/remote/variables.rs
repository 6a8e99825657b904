//! `updraft variables`.

use std::process::ExitCode;

use api::{client::ClientError, v2::variables::VariableBody};
use clap::{Args, Subcommand};

use super::{
    Count, Error, Service, Session, rows,
    screen::{Cell, or_dash, toned},
    values::from_stdin,
};
use crate::terminal::Tone;

/// The arguments of `updraft variables`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  updraft variables set region eu\n  updraft variables set token --secret --stdin < token.txt"
)]
pub struct Variables {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: VariablesCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum VariablesCommand {
    /// List variables; secret ones without their values
    #[command(after_help = "Example:\n  updraft variables list")]
    List {
        #[command(flatten)]
        count: Count,
    },
    /// Show the value of a variable that isn't secret
    #[command(after_help = "Example:\n  updraft variables get region")]
    Get {
        /// Its name
        name: String,
    },
    /// Make or change a variable
    #[command(
        after_help = "A secret variable stays secret when it is set again, and its value is never shown.\n\n\
        Example:\n  updraft variables set region eu\n  updraft variables set token --secret --stdin < token.txt"
    )]
    Set {
        /// Its name
        name: String,
        /// Its value
        #[arg(required_unless_present = "stdin")]
        value: Option<String>,
        /// Read the value from the standard input: a command line is for everyone to see
        #[arg(long, conflicts_with = "value")]
        stdin: bool,
        /// Seal it: only tasks will see the value
        #[arg(long)]
        secret: bool,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Delete a variable
    #[command(after_help = "Example:\n  updraft variables delete region")]
    Delete {
        /// Its name
        name: String,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: VariablesCommand) -> Result<ExitCode, Error> {
    match command {
        VariablesCommand::List { count } => {
            let client = &session.client;
            let (variables, total) = rows(count.count, async |slice| {
                client.variables(slice).await.map(|page| (page.variables, page.total_entries))
            })
            .await?;
            session.screen.list(&variables, total, ["VARIABLE", "VALUE", "DESCRIPTION"], |variable, _| {
                let hidden = || toned("(secret)", Tone::Dim);
                [
                    Cell::from(&variable.key),
                    variable.value.as_ref().map_or_else(hidden, Cell::from),
                    or_dash(variable.description.as_ref()),
                ]
            })?;
        }
        VariablesCommand::Get { name } => {
            let found = session.client.variable(&name).await?;
            match found.value.as_deref() {
                _ if session.screen.json => session.screen.document(&found)?,
                Some(value) => session.screen.line(value)?,
                None => {
                    let message = format!("`{name}` is secret, only tasks see its value");
                    return Err(Error::usage(message, "set it again if it is lost"));
                }
            }
        }
        VariablesCommand::Set { name, value, stdin, secret, description } => {
            let value = if stdin { from_stdin()? } else { value.unwrap_or_default() };
            let body = VariableBody {
                key: name,
                value: value.into(),
                description,
                team_name: None,
                secret: secret.then_some(true),
            };
            let set = match session.client.change_variable(&body).await {
                Err(ClientError::Refused { status: 404, .. }) => session.client.make_variable(&body).await?,
                set => set?,
            };
            if session.screen.json {
                session.screen.document(&set)?;
            } else {
                let kind = if set.is_encrypted { "secret variable" } else { "variable" };
                session.screen.line(&format!("{kind} {} is set", set.key))?;
            }
        }
        VariablesCommand::Delete { name } => {
            session.client.delete_variable(&name).await?;
            session.screen.line(&format!("variable {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
