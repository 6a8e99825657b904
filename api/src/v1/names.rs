//! Names of tenants, users, groups, roles and service accounts.

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
const BYTES_MAX: usize = 64;

/// A name: small letters, digits, `-`, `_`, `.` and `@`; a letter or digit comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": BYTES_MAX, "pattern": "^[a-z0-9][a-z0-9._@-]*$" })
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = text.len() <= BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.@".contains(c));
        if fits {
            return Ok(Self(text));
        }
        Err(format!(
            "a name has 1 to {BYTES_MAX} small letters, digits, `-`, `_`, `.` and `@`, and begins with a letter or digit"
        ))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
