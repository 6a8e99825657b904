//! Operators as data: what a task can do, without the code that does it.
//!
//! `plugins` builds the catalog from typed structs and plugin files; the compiler, the JSON Schema of the language, the
//! script host and the console read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use jsonschema::Validator;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{compile::TASK_KEYS, installation::Installation, json_schema, model::Runner};

/// One operator: a key of a task.
///
/// The schema describes the parameters as an object. Parameters that aren't in it are errors, whether or not it says so.
/// It may use the formats `span` (a duration such as `30s`), `size` (`512Mi`), `timestamp` and `moment` (that
/// or a time of day).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The key that authors write.
    pub name: String,
    /// What it does, in one line.
    pub doc: String,
    /// The JSON Schema of the parameters: an object with `properties`.
    pub schema: Value,
    /// The parameter that a value fills which isn't an object: `bash: echo hello`, `branch: [...]`.
    #[serde(default)]
    pub main: Option<String>,
    /// Parameters that are templates.
    #[serde(default)]
    pub templated: BTreeSet<String>,
    /// Templated parameters that are code: what an expression puts there is quoted or checked.
    #[serde(default)]
    pub code: BTreeSet<String>,
    /// Parameters that name a file of the bundle.
    #[serde(default)]
    pub files: BTreeSet<String>,
    /// Who carries it out.
    #[serde(default)]
    pub runner: Runner,
    /// The SHA-256 of the plugin that brings it; built-in operators have none.
    #[serde(default)]
    pub plugin: Option<String>,
}

impl Operator {
    /// The parameters that the schema declares, with their schemas.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Value)> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema))
    }

    /// The schema of one parameter.
    pub fn parameter(&self, name: &str) -> Option<&Value> {
        self.schema.get("properties")?.get(name)
    }

    /// The parameters that must be given.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        let required = self.schema.get("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str)
    }
}

/// Why a list of operators isn't a catalog. It is the operator's author who must act, not the DAG's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCatalog {
    /// The name can't be a key of a task.
    #[error("the operator name {0:?} must consist of lower-case letters, digits and `_`")]
    Name(String),
    /// A task already has that key.
    #[error("an operator can't be named `{0}`: tasks have a key of that name")]
    Reserved(String),
    /// Two operators have that name.
    #[error("two operators are named `{0}`")]
    Duplicate(String),
    /// The schema isn't usable.
    #[error("the schema of operator `{operator}` can't be used: {reason}")]
    Schema {
        /// The operator.
        operator: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `main`, `templated`, `code` or `files` names a parameter that the schema doesn't declare.
    #[error("operator `{operator}` names a parameter `{parameter}` that its schema doesn't declare")]
    Parameter {
        /// The operator.
        operator: String,
        /// The parameter.
        parameter: String,
    },
}

/// The operators that tasks can use and, if that is known, what the installation offers them. Cheap to clone.
///
/// Its JSON form is the list of operators.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<Operator>", into = "Vec<Operator>")]
pub struct Catalog {
    operators: Arc<BTreeMap<String, Known>>,
    installation: Option<Arc<Installation>>,
}

struct Known {
    operator: Operator,
    validator: Validator,
}

impl Catalog {
    /// Checks the operators and prepares their schemas.
    pub fn new(operators: impl IntoIterator<Item = Operator>) -> Result<Self, InvalidCatalog> {
        let mut known = BTreeMap::new();
        for operator in operators {
            let validator = check(&operator)?;
            let name = operator.name.clone();
            if known.insert(name.clone(), Known { operator, validator }).is_some() {
                return Err(InvalidCatalog::Duplicate(name));
            }
        }
        Ok(Self { operators: Arc::new(known), installation: None })
    }

    /// The same operators, for DAGs that are to run on that installation.
    #[must_use]
    pub fn on(self, installation: Installation) -> Self {
        Self { installation: Some(Arc::new(installation)), ..self }
    }

    /// What DAGs may ask for besides operators. If nobody said, everything: what compiles may not run everywhere.
    pub fn installation(&self) -> Option<&Installation> {
        self.installation.as_deref()
    }

    /// The operator of that name.
    pub fn get(&self, name: &str) -> Option<&Operator> {
        self.operators.get(name).map(|known| &known.operator)
    }

    /// All operators, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Operator> {
        self.operators.values().map(|known| &known.operator)
    }

    /// The names of all operators, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.operators.keys().map(String::as_str)
    }

    pub(crate) fn validator(&self, name: &str) -> Option<&Validator> {
        self.operators.get(name).map(|known| &known.validator)
    }
}

fn check(operator: &Operator) -> Result<Validator, InvalidCatalog> {
    let name = &operator.name;
    let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !well_formed {
        return Err(InvalidCatalog::Name(name.clone()));
    }
    if TASK_KEYS.contains(&name.as_str()) {
        return Err(InvalidCatalog::Reserved(name.clone()));
    }
    let named = operator.main.iter().chain(&operator.templated).chain(&operator.code).chain(&operator.files);
    for parameter in named {
        if operator.parameter(parameter).is_none() {
            return Err(InvalidCatalog::Parameter { operator: name.clone(), parameter: parameter.clone() });
        }
    }
    json_schema::compile(&operator.schema)
        .map_err(|error| InvalidCatalog::Schema { operator: name.clone(), reason: error.to_string() })
}

impl TryFrom<Vec<Operator>> for Catalog {
    type Error = InvalidCatalog;
    fn try_from(operators: Vec<Operator>) -> Result<Self, InvalidCatalog> {
        Self::new(operators)
    }
}

impl From<Catalog> for Vec<Operator> {
    fn from(catalog: Catalog) -> Self {
        catalog.iter().cloned().collect()
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl PartialEq for Catalog {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter()) && self.installation == other.installation
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operator(name: &str) -> Operator {
        let schema = json!({"type": "object", "properties": {"command": {"type": "string"}}});
        serde_json::from_value(json!({"name": name, "doc": "Runs.", "schema": schema, "main": "command"}))
            .unwrap()
    }

    #[test]
    fn a_catalog_survives_its_json_form() {
        let catalog = Catalog::new([operator("bash"), operator("sh")]).unwrap();
        let text = serde_json::to_string(&catalog).unwrap();
        assert_eq!(serde_json::from_str::<Catalog>(&text).unwrap(), catalog);
    }

    #[test]
    fn operators_that_no_author_could_use_are_refused() {
        let refused = |operators: Vec<Operator>| Catalog::new(operators).unwrap_err();
        assert_eq!(refused(vec![operator("needs")]), InvalidCatalog::Reserved("needs".into()));
        assert_eq!(refused(vec![operator("Bad Name")]), InvalidCatalog::Name("Bad Name".into()));
        assert_eq!(refused(vec![operator("a"), operator("a")]), InvalidCatalog::Duplicate("a".into()));
        let main = Operator { main: Some("x".into()), ..operator("a") };
        let expected = InvalidCatalog::Parameter { operator: "a".into(), parameter: "x".into() };
        assert_eq!(refused(vec![main]), expected);
        let schema = Operator {
            schema: json!({"type": "object", "properties": {"command": {"$ref": "http://x/y"}}}),
            ..operator("a")
        };
        assert!(matches!(refused(vec![schema]), InvalidCatalog::Schema { .. }));
    }
}
