//! Methods that authors call on plain values: `'a-b'.split('-')`, `params.get('x', 1)`, `ti.xcom_pull('task')`.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Rest, ValueKind, from_args},
};

use crate::{error::refused, filters::capped_replace};

/// Called for every method that a value doesn't have itself.
pub(crate) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.kind(), method) {
        (ValueKind::Map, "xcom_pull") => xcom_pull(state, args),
        (ValueKind::Map, "get") => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(key)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        (ValueKind::Map, "items") => state.apply_filter("items", std::slice::from_ref(value)),
        (ValueKind::Map, "keys") => state.apply_filter("list", std::slice::from_ref(value)),
        (ValueKind::Map, "values") => {
            value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        (ValueKind::String, _) => text(value.as_str().unwrap_or_default(), method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let chars = |args: &[Value]| -> Result<Vec<char>, Error> {
        let (chars,): (Option<&str>,) = from_args(args)?;
        Ok(chars.map(|c| c.chars().collect()).unwrap_or_default())
    };
    let trim = |set: &[char], c: char| if set.is_empty() { c.is_whitespace() } else { set.contains(&c) };
    Ok(match method {
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        "strip" => {
            let set = chars(args)?;
            Value::from(text.trim_matches(|c| trim(&set, c)))
        }
        "lstrip" => {
            let set = chars(args)?;
            Value::from(text.trim_start_matches(|c| trim(&set, c)))
        }
        "rstrip" => {
            let set = chars(args)?;
            Value::from(text.trim_end_matches(|c| trim(&set, c)))
        }
        "startswith" => Value::from(text.starts_with(from_args::<(&str,)>(args)?.0)),
        "endswith" => Value::from(text.ends_with(from_args::<(&str,)>(args)?.0)),
        "removeprefix" => Value::from(text.strip_prefix(from_args::<(&str,)>(args)?.0).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(from_args::<(&str,)>(args)?.0).unwrap_or(text)),
        "replace" => {
            let (from, to): (&str, &str) = from_args(args)?;
            Value::from(capped_replace(text, from, to)?)
        }
        "split" => {
            let (by, most): (Option<&str>, Option<usize>) = from_args(args)?;
            let parts: Vec<&str> = match (by, most) {
                (Some(""), _) => return Err(refused("can't split at an empty text", "name the separator")),
                (Some(by), Some(most)) => text.splitn(most.saturating_add(1), by).collect(),
                (Some(by), None) => text.split(by).collect(),
                (None, _) => text.split_whitespace().collect(),
            };
            parts.into_iter().map(Value::from).collect()
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// `ti.xcom_pull('task')` is `outputs.task`; a `key` other than Airflow's `return_value` is a field of the result.
fn xcom_pull(state: &State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
    let (given, kwargs): (Rest<Value>, Kwargs) = from_args(args)?;
    let mut tasks = given.first().cloned();
    if let Some(named) = kwargs.get::<Option<Value>>("task_ids")? {
        tasks = Some(named);
    }
    let key = kwargs.get::<Option<String>>("key")?;
    kwargs.assert_all_used()?;
    let outputs = state.lookup("outputs").unwrap_or_default();
    let pull = |task: &Value| -> Result<Value, Error> {
        let result = if outputs.is_undefined() { Value::UNDEFINED } else { outputs.get_item(task)? };
        if result.is_undefined() {
            return Err(refused(
                format_args!("there is no result of task {task:?}"),
                "a task sees the results of those that it `needs`",
            ));
        }
        match key.as_deref() {
            None | Some("return_value") => Ok(result),
            Some(key) => result.get_attr(key),
        }
    };
    match tasks {
        None => Err(refused(
            "`xcom_pull` needs the name of a task",
            "write `ti.xcom_pull('extract')` or `outputs.extract`",
        )),
        Some(list) if list.kind() == ValueKind::Seq => {
            list.try_iter()?.map(|task| pull(&task)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        Some(task) => pull(&task),
    }
}
