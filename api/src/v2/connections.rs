//! Connections. Password and everything in `extra` are write-only.

use migrations::store::connection::{self, Address};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{access::Permit, error::Error};

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod post;

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Its name.
    pub connection_id: String,
    /// `postgres`, `sqlite`, `http`, ...
    pub conn_type: String,
    /// What it is for.
    pub description: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The user.
    pub login: Option<String>,
    /// The database or path.
    pub schema: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// Never shown.
    pub password: Option<String>,
    /// Never shown.
    pub extra: Option<String>,
    /// None.
    pub team_name: Option<String>,
    /// Whether it has a password or extra fields: our addition.
    #[serde(default)]
    pub has_secrets: bool,
}

/// A page of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionCollection {
    /// The connections.
    pub connections: Vec<Connection>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// A connection that is to be set.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionBody {
    /// Its name.
    pub connection_id: String,
    /// `postgres`, `sqlite`, `http`, ...
    pub conn_type: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The host.
    #[serde(default)]
    pub host: Option<String>,
    /// The user.
    #[serde(default)]
    pub login: Option<String>,
    /// The database or path.
    #[serde(default)]
    pub schema: Option<String>,
    /// The port.
    #[serde(default)]
    pub port: Option<u16>,
    /// The password.
    #[serde(default)]
    pub password: Option<String>,
    /// Everything else: a JSON object, as text.
    #[serde(default)]
    pub extra: Option<String>,
    /// There are no teams.
    #[serde(default)]
    pub team_name: Option<String>,
}

impl std::fmt::Debug for ConnectionBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionBody").field("connection_id", &self.connection_id).finish_non_exhaustive()
    }
}

/// The connection of that name, or not found.
async fn find(may: &Permit, name: &str) -> Result<connection::Connection, Error> {
    let found = connection::get(may.db(), may.scope, name).await?;
    found.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::NotFound(format!("the connection `{name}` was not found"))
}

fn view(found: connection::Connection) -> Connection {
    let Address { conn_type, host, port, schema, login } = found.address;
    Connection {
        connection_id: found.name,
        conn_type,
        description: found.description,
        host,
        login,
        schema,
        port,
        password: None,
        extra: None,
        team_name: None,
        has_secrets: found.has_secrets,
    }
}

/// `extra` as fields. The reason why it can't be read would quote it, so it isn't given.
fn extra(text: Option<&str>) -> Result<Map<String, Value>, Error> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(Map::new()) };
    serde_json::from_str(text)
        .map_err(|_| Error::value("body", "extra", "must be a JSON object, as text", Value::Null))
}
