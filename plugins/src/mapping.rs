//! How a mapped task's index becomes the values of its variables.
//!
//! Several variables form the product of their lists, the first-declared varying slowest; `zip` walks them in step
//! and ends with the shortest. An object is the list of its `[key, value]` pairs, as Airflow has it.

use std::collections::BTreeMap;

use dags::{
    ids::TaskId,
    model::{self, MapSource},
};
use serde_json::{Map, Value};

/// Why a map has no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The upstream task returned nothing.
    #[error("`{variable}` maps over the result of `{task}`, which has none")]
    Missing {
        /// The variable.
        variable: String,
        /// The upstream task.
        task: TaskId,
    },
    /// The upstream task's result isn't a list or an object.
    #[error("`{variable}` maps over the result of `{task}`, which is {found}: return a list or an object")]
    NotAList {
        /// The variable.
        variable: String,
        /// The upstream task.
        task: TaskId,
        /// What it is instead.
        found: &'static str,
    },
    /// There is no such index.
    #[error("index {index} is outside of the map, which has {length} elements")]
    Index {
        /// What was asked for.
        index: u64,
        /// How many there are.
        length: u64,
    },
    /// The product has more elements than can be counted.
    #[error("the map has more than 18446744073709551615 elements")]
    TooLong,
}

/// How many instances the map has.
pub fn length(map: &model::Map, outputs: &BTreeMap<TaskId, Value>) -> Result<u64, Error> {
    let lengths = lengths(map, outputs)?;
    combine(map, &lengths)
}

/// The values of the mapped variables for one index.
pub fn values(
    map: &model::Map,
    outputs: &BTreeMap<TaskId, Value>,
    index: u64,
) -> Result<Map<String, Value>, Error> {
    let lengths = lengths(map, outputs)?;
    let length = combine(map, &lengths)?;
    if index >= length {
        return Err(Error::Index { index, length });
    }
    let mut rest = index;
    let mut values = Map::new();
    for ((variable, source), length) in map.over.iter().zip(&lengths).rev() {
        let at = if map.zip { index } else { rest % length };
        rest /= length;
        values.insert(variable.clone(), element(variable, source, outputs, at as usize)?);
    }
    Ok(values)
}

fn combine(map: &model::Map, lengths: &[u64]) -> Result<u64, Error> {
    if map.zip {
        return Ok(lengths.iter().copied().min().unwrap_or(0));
    }
    // An empty list empties the product, also if the others are too long to multiply.
    if lengths.is_empty() || lengths.contains(&0) {
        return Ok(0);
    }
    lengths.iter().try_fold(1_u64, |product, length| product.checked_mul(*length)).ok_or(Error::TooLong)
}

fn lengths(map: &model::Map, outputs: &BTreeMap<TaskId, Value>) -> Result<Vec<u64>, Error> {
    let length = |(variable, source): &(String, MapSource)| match source {
        MapSource::Literal(list) => Ok(list.len() as u64),
        MapSource::Output(task) => match output(variable, task, outputs)? {
            Value::Array(list) => Ok(list.len() as u64),
            Value::Object(object) => Ok(object.len() as u64),
            other => {
                Err(Error::NotAList { variable: variable.clone(), task: task.clone(), found: kind(other) })
            }
        },
    };
    map.over.iter().map(length).collect()
}

fn element(
    variable: &str,
    source: &MapSource,
    outputs: &BTreeMap<TaskId, Value>,
    at: usize,
) -> Result<Value, Error> {
    let found = match source {
        MapSource::Literal(list) => list.get(at).cloned(),
        MapSource::Output(task) => match output(variable, task, outputs)? {
            Value::Array(list) => list.get(at).cloned(),
            Value::Object(object) => object
                .iter()
                .nth(at)
                .map(|(key, value)| Value::Array(vec![key.as_str().into(), value.clone()])),
            other => {
                return Err(Error::NotAList {
                    variable: variable.to_owned(),
                    task: task.clone(),
                    found: kind(other),
                });
            }
        },
    };
    Ok(found.expect("invariant: the index was checked against the lengths"))
}

fn output<'a>(
    variable: &str,
    task: &TaskId,
    outputs: &'a BTreeMap<TaskId, Value>,
) -> Result<&'a Value, Error> {
    outputs.get(task).ok_or_else(|| Error::Missing { variable: variable.to_owned(), task: task.clone() })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn task(name: &str) -> TaskId {
        TaskId::parse(name).unwrap()
    }

    fn literal(name: &str, list: &Value) -> (String, MapSource) {
        (name.to_owned(), MapSource::Literal(list.as_array().unwrap().clone()))
    }

    fn all(map: &model::Map, outputs: &BTreeMap<TaskId, Value>) -> Vec<Value> {
        (0..length(map, outputs).unwrap()).map(|i| values(map, outputs, i).unwrap().into()).collect()
    }

    #[test]
    fn the_first_declared_varies_slowest() {
        let map = model::Map {
            over: vec![literal("z", &json!([1, 2])), literal("a", &json!(["x", "y", "w"]))],
            zip: false,
        };
        let expected = json!([
            {"z": 1, "a": "x"}, {"z": 1, "a": "y"}, {"z": 1, "a": "w"},
            {"z": 2, "a": "x"}, {"z": 2, "a": "y"}, {"z": 2, "a": "w"},
        ]);
        assert_eq!(Value::from(all(&map, &BTreeMap::new())), expected);
    }

    #[test]
    fn zip_ends_with_the_shortest() {
        let map = model::Map {
            over: vec![literal("a", &json!([1, 2, 3])), literal("b", &json!(["x", "y"]))],
            zip: true,
        };
        assert_eq!(Value::from(all(&map, &BTreeMap::new())), json!([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]));
    }

    #[test]
    fn an_object_maps_over_its_pairs() {
        let map = model::Map { over: vec![("v".into(), MapSource::Output(task("up")))], zip: false };
        let outputs = BTreeMap::from([(task("up"), json!({"berlin": 1, "paris": [2]}))]);
        assert_eq!(Value::from(all(&map, &outputs)), json!([{"v": ["berlin", 1]}, {"v": ["paris", [2]]}]));
    }

    #[test]
    fn an_empty_list_empties_the_map() {
        let map =
            model::Map { over: vec![literal("a", &json!([1, 2])), literal("b", &json!([]))], zip: false };
        assert_eq!(length(&map, &BTreeMap::new()), Ok(0));
        assert_eq!(values(&map, &BTreeMap::new(), 0), Err(Error::Index { index: 0, length: 0 }));
    }

    #[test]
    fn a_missing_or_shapeless_result_is_named() {
        let map = model::Map { over: vec![("v".into(), MapSource::Output(task("up")))], zip: false };
        let error = length(&map, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.to_string(), "`v` maps over the result of `up`, which has none");
        let error = length(&map, &BTreeMap::from([(task("up"), json!("text"))])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`v` maps over the result of `up`, which is a text: return a list or an object"
        );
    }

    proptest! {
        #[test]
        fn a_product_is_nested_loops(sizes in prop::collection::vec(0_usize..5, 1..4)) {
            let over = sizes.iter().enumerate().map(|(i, n)| literal(&format!("v{i}"), &(0..*n).collect())).collect();
            let map = model::Map { over, zip: false };
            let mut expected = vec![Map::new()];
            for (i, n) in sizes.iter().enumerate() {
                expected = expected.iter().flat_map(|m| (0..*n).map(move |v| {
                    let mut m = m.clone();
                    m.insert(format!("v{i}"), v.into());
                    m
                })).collect();
            }
            let found: Vec<_> = all(&map, &BTreeMap::new());
            prop_assert_eq!(found, expected.into_iter().map(Value::Object).collect::<Vec<_>>());
        }
    }
}
