//! What a caller passes to a run, checked against the DAG's `params`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::json_schema;

/// A value of `conf` that doesn't fit the parameter of its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("param `{name}` {reason}")]
pub struct Misfit {
    /// The parameter.
    pub name: String,
    /// What is wrong, as a sentence without its subject.
    pub reason: String,
}

/// Everything in `conf` that doesn't fit, and every parameter that has neither a value there nor a default. Keys that
/// name no parameter are the caller's own.
pub fn check(params: &BTreeMap<String, Value>, conf: &Map<String, Value>) -> Vec<Misfit> {
    let misfit = |name: &str, reason: String| Misfit { name: name.to_owned(), reason };
    params
        .iter()
        .filter_map(|(name, schema)| match conf.get(name) {
            None if schema.get("default").is_some() => None,
            None => Some(misfit(name, "has no default, so a value must be given".to_owned())),
            Some(value) => match json_schema::compile(schema) {
                Ok(validator) => {
                    let error = validator.iter_errors(value).next()?;
                    Some(misfit(name, json_schema::explain(&error)))
                }
                Err(error) => Some(misfit(name, format!("can't be checked, its schema {error}"))),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_misfit_is_named() {
        let params = serde_json::from_value(json!({
            "region": {"type": "string", "enum": ["eu", "us"], "default": "eu"},
            "limit": {"type": "integer", "minimum": 1},
            "name": {"type": "string"},
        }))
        .unwrap();
        let conf = |value: Value| value.as_object().unwrap().clone();
        assert_eq!(check(&params, &conf(json!({"limit": 3, "name": "x", "mine": [1]}))), []);
        let misfits = check(&params, &conf(json!({"limit": 0, "region": "mars"})));
        let names: Vec<&str> = misfits.iter().map(|misfit| misfit.name.as_str()).collect();
        assert_eq!(names, ["limit", "name", "region"]);
        assert!(misfits[1].to_string().contains("has no default"), "{}", misfits[1]);
    }
}
