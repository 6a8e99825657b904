//! Variables. A secret one is write-only.

use migrations::store::variable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{access::Permit, error::Error};

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod post;

/// The longest name, in bytes, as the contract has it.
pub(crate) const NAME_BYTES_MAX: usize = 250;

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Variable {
    /// Its name.
    pub key: String,
    /// Its value as text; none if it is secret.
    pub value: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it is secret.
    pub is_encrypted: bool,
    /// None.
    pub team_name: Option<String>,
}

/// A page of variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VariableCollection {
    /// The variables.
    pub variables: Vec<Variable>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// A variable that is to be set.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableBody {
    /// Its name.
    pub key: String,
    /// Its value: a text as it is, anything else as JSON.
    pub value: Value,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// There are no teams.
    #[serde(default)]
    pub team_name: Option<String>,
    /// Whether it is secret: our addition. A secret one stays secret if this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
}

impl std::fmt::Debug for VariableBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VariableBody").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The variable of that name, or not found.
async fn find(may: &Permit, name: &str) -> Result<variable::Variable, Error> {
    let found = variable::get(may.db(), may.scope, name).await?;
    found.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::NotFound(format!("the variable `{name}` was not found"))
}

fn view(found: variable::Variable) -> Variable {
    Variable {
        key: found.name,
        value: found.value,
        description: found.description,
        is_encrypted: found.secret,
        team_name: None,
    }
}

/// A name of 1 to 250 bytes.
pub(crate) fn named(field: &str, name: &str) -> Result<(), Error> {
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX {
        let message = format!("must have 1 to {NAME_BYTES_MAX} bytes");
        return Err(Error::value("body", field, message, name));
    }
    Ok(())
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => value.to_string(),
    }
}
