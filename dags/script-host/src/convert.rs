//! Values between JSON, the engine and document trees.

use rhai::{Array, Dynamic, Map};
use serde_json::{Number, Value};

use crate::{
    dag_api::{GroupHandle, OperatorValue, TaskHandle},
    draft::Draft,
    fault::Fault,
    node::{DEPTH_MAX, Entry, Kind, Node, Span},
};

/// How deep a JSON value may be; what JSON readers accept.
const JSON_DEPTH_MAX: usize = 100;

/// A JSON value for the engine. Numbers keep their kind; whole ones over 63 bits become floats.
pub(crate) fn from_json(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(from_json).collect::<Array>().into(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect::<Map>().into()
        }
    }
}

/// An engine's value as JSON.
pub(crate) fn to_json(value: &Dynamic, depth: usize) -> Result<Value, Fault> {
    if depth > JSON_DEPTH_MAX {
        return Err(
            Fault::new(format!("the result is nested deeper than {JSON_DEPTH_MAX} levels")).limit("depth")
        );
    }
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(value) = value.as_bool() {
        return Ok(value.into());
    }
    if let Ok(value) = value.as_int() {
        return Ok(value.into());
    }
    if let Ok(value) = value.as_float() {
        return finite(value).and_then(|value| {
            Number::from_f64(value).map(Value::Number).ok_or_else(|| Fault::new("the number isn't finite"))
        });
    }
    if let Ok(value) = value.as_char() {
        return Ok(value.to_string().into());
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.as_str().into());
    }
    if let Ok(items) = value.as_array_ref() {
        return items
            .iter()
            .map(|item| to_json(item, depth + 1))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array);
    }
    if let Ok(map) = value.as_map_ref() {
        return map
            .iter()
            .map(|(key, item)| Ok((key.to_string(), to_json(item, depth + 1)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object);
    }
    Err(unfit(value))
}

/// An engine's value as a tree, every part of it placed at `span`; tasks and groups become their names.
pub(crate) fn to_node(value: &Dynamic, span: Span, draft: &Draft, depth: usize) -> Result<Node, Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault::new(format!("the value is nested deeper than {DEPTH_MAX} levels")).limit("depth"));
    }
    let kind = if value.is_unit() {
        Kind::Null
    } else if let Ok(value) = value.as_bool() {
        Kind::Bool(value)
    } else if let Ok(value) = value.as_int() {
        Kind::Int(value)
    } else if let Ok(value) = value.as_float() {
        Kind::Float(finite(value)?)
    } else if let Ok(value) = value.as_char() {
        Kind::Str(value.to_string())
    } else if let Ok(text) = value.as_immutable_string_ref() {
        Kind::Str(text.to_string())
    } else if let Ok(items) = value.as_array_ref() {
        Kind::Seq(items.iter().map(|item| to_node(item, span, draft, depth + 1)).collect::<Result<_, _>>()?)
    } else if let Ok(map) = value.as_map_ref() {
        let mut entries = Vec::with_capacity(map.len());
        for (key, item) in map.iter() {
            entries.push(Entry::new(span, key.as_str(), to_node(item, span, draft, depth + 1)?));
        }
        Kind::Map(entries)
    } else if let Some(task) = value.read_lock::<TaskHandle>() {
        Kind::Str(draft.task(*task).name.clone())
    } else if let Some(group) = value.read_lock::<GroupHandle>() {
        Kind::Str(draft.group(*group).name.clone())
    } else {
        return Err(unfit(value));
    };
    Ok(Node { span, kind })
}

fn finite(value: f64) -> Result<f64, Fault> {
    if value.is_finite() { Ok(value) } else { Err(Fault::new(format!("the number {value} isn't finite"))) }
}

fn unfit(value: &Dynamic) -> Fault {
    if value.is_fnptr() {
        return Fault::new("a function can't be used as a value here")
            .hint("call it, or write its code into a task");
    }
    if value.is::<OperatorValue>() {
        return Fault::new("an operator can't be used as a value here")
            .hint("give it to `d.task(name, operator)`");
    }
    Fault::new(format!("{} can't be used as a value here", value.type_name()))
        .hint("values are null, booleans, numbers, texts, lists and objects")
}
