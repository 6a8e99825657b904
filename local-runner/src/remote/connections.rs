//! `updraft connections`.

use std::process::ExitCode;

use api::{client::ClientError, v2::connections::ConnectionBody};
use clap::{Args, Subcommand};

use super::{
    Count, Error, Service, Session, rows,
    screen::{Cell, or_dash, toned},
    values::{from_stdin, object},
};
use crate::terminal::Tone;

/// The arguments of `updraft connections`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  updraft connections set warehouse --type postgres --host db.example --login etl \
    --password-stdin < password.txt"
)]
pub struct Connections {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: ConnectionsCommand,
}

/// The fields of a connection; what isn't given stays as it is.
#[derive(Debug, Args)]
pub(super) struct Fields {
    /// What it leads to: postgres, sqlite, http, ...
    #[arg(long = "type", value_name = "TYPE")]
    conn_type: Option<String>,
    /// The host
    #[arg(long)]
    host: Option<String>,
    /// The port
    #[arg(long)]
    port: Option<u16>,
    /// The database or path
    #[arg(long)]
    schema: Option<String>,
    /// The user
    #[arg(long)]
    login: Option<String>,
    /// Read the password from the standard input: a command line is for everyone to see
    #[arg(long)]
    password_stdin: bool,
    /// Everything else, as a JSON object; sealed like the password
    #[arg(long, value_name = "JSON")]
    extra: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConnectionsCommand {
    /// List connections, without their secrets
    #[command(after_help = "Example:\n  updraft connections list")]
    List {
        #[command(flatten)]
        count: Count,
    },
    /// Make or change a connection
    #[command(
        after_help = "Password and extra are only seen by tasks that name the connection. If type, host or port \
        change, they must be given again.\n\nExample:\n  updraft connections set warehouse --type postgres \
        --host db.example --schema sales --login etl --password-stdin < password.txt"
    )]
    Set {
        /// Its name
        name: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Delete a connection
    #[command(after_help = "Example:\n  updraft connections delete warehouse")]
    Delete {
        /// Its name
        name: String,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: ConnectionsCommand) -> Result<ExitCode, Error> {
    match command {
        ConnectionsCommand::List { count } => {
            let client = &session.client;
            let (connections, total) = rows(count.count, async |slice| {
                client.connections(slice).await.map(|page| (page.connections, page.total_entries))
            })
            .await?;
            let heads = ["CONNECTION", "TYPE", "HOST", "PORT", "SCHEMA", "LOGIN", "SECRETS"];
            session.screen.list(&connections, total, heads, |connection, _| {
                [
                    Cell::from(&connection.connection_id),
                    Cell::from(&connection.conn_type),
                    or_dash(connection.host.as_ref()),
                    or_dash(connection.port),
                    or_dash(connection.schema.as_ref()),
                    or_dash(connection.login.as_ref()),
                    if connection.has_secrets { "sealed".into() } else { toned("none", Tone::Dim) },
                ]
            })?;
        }
        ConnectionsCommand::Set { name, fields } => set(session, name, fields).await?,
        ConnectionsCommand::Delete { name } => {
            session.client.delete_connection(&name).await?;
            session.screen.line(&format!("connection {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(session: &mut Session<'_>, name: String, fields: Fields) -> Result<(), Error> {
    object("--extra", fields.extra.as_deref())?;
    let password = if fields.password_stdin { Some(from_stdin()?) } else { None };
    let given = [
        ("conn_type", fields.conn_type.is_some()),
        ("host", fields.host.is_some()),
        ("port", fields.port.is_some()),
        ("schema", fields.schema.is_some()),
        ("login", fields.login.is_some()),
        ("password", password.is_some()),
        ("extra", fields.extra.is_some()),
        ("description", fields.description.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(field, _)| *field).collect();
    if given.is_empty() {
        return Err(Error::usage("there is nothing to set", "name a field, such as `--host db.example`"));
    }
    let is_typed = fields.conn_type.is_some();
    let body = ConnectionBody {
        connection_id: name,
        conn_type: fields.conn_type.unwrap_or_default(),
        description: fields.description,
        host: fields.host,
        login: fields.login,
        schema: fields.schema,
        port: fields.port,
        password,
        extra: fields.extra,
        team_name: None,
    };
    let set = match session.client.change_connection(&body, &given).await {
        Err(ClientError::Refused { status: 404, .. }) if !is_typed => {
            let message = format!("`{}` is new, so it needs a type", body.connection_id);
            return Err(Error::usage(message, "say what it leads to, as in `--type postgres`"));
        }
        Err(ClientError::Refused { status: 404, .. }) => session.client.make_connection(&body).await?,
        set => set?,
    };
    if session.screen.json {
        return session.screen.document(&set);
    }
    let secrets = if set.has_secrets { "its secrets are sealed" } else { "it has no secrets" };
    session.screen.line(&format!("connection {} is set, {secrets}", set.connection_id))
}
