//! Renders the templates of an attempt; the only place of this crate that knows the template library.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::Value;
use updraft_template::{RunFacts, Templates, airflow_context, has_expression};

use crate::{context::AttemptContext, operator::Failure};

pub use updraft_template::Error;

/// Renders the templates of one attempt. Everything is built when the first expression is met: most attempts of
/// `bash` have a few, many have none.
pub(crate) struct Renderer<'a> {
    ctx: &'a AttemptContext,
    names: OnceCell<Value>,
    templates: OnceCell<Templates>,
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(ctx: &'a AttemptContext) -> Self {
        Self { ctx, names: OnceCell::new(), templates: OnceCell::new() }
    }

    /// The names that templates see; `conn` among them holds secrets.
    pub(crate) fn names(&self) -> &Value {
        self.names.get_or_init(|| airflow_context(&facts(self.ctx)))
    }

    /// The same, with more names.
    pub(crate) fn with<const N: usize>(&self, more: [(&str, Value); N]) -> Self {
        let mut names = self.names().clone();
        if let Value::Object(names) = &mut names {
            names.extend(more.map(|(name, value)| (name.to_owned(), value)));
        }
        Self { ctx: self.ctx, names: OnceCell::from(names), templates: OnceCell::new() }
    }

    /// Renders every text inside of a value; a text that is one whole expression becomes that expression's value.
    pub(crate) fn render_in_place(&self, field: &str, value: &mut Value, code: bool) -> Result<(), Failure> {
        match value {
            Value::String(text) if has_expression(text) => *value = self.render(field, text, code)?,
            Value::Array(list) => {
                for (i, inner) in list.iter_mut().enumerate() {
                    self.render_in_place(&format!("{field}[{i}]"), inner, code)?;
                }
            }
            Value::Object(object) => {
                for (key, inner) in object {
                    self.render_in_place(&format!("{field}.{key}"), inner, code)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    /// Renders a text to a text.
    pub(crate) fn text<'t>(&self, field: &str, text: &'t str, code: bool) -> Result<Cow<'t, str>, Failure> {
        if !has_expression(text) {
            return Ok(Cow::Borrowed(text));
        }
        Ok(Cow::Owned(match self.render(field, text, code)? {
            Value::String(text) => text,
            other => other.to_string(),
        }))
    }

    /// Whether an expression holds, with more names than the usual ones.
    pub(crate) fn holds<const N: usize>(
        &self,
        field: &str,
        expression: &str,
        more: [(&str, Value); N],
    ) -> Result<bool, Failure> {
        let names = self.with(more);
        let value = self
            .templates
            .get_or_init(Templates::new)
            .eval(expression, names.names())
            .map_err(|source| Failure::Render { field: field.to_owned(), source })?;
        Ok(truthy(&value))
    }

    fn render(&self, field: &str, text: &str, code: bool) -> Result<Value, Failure> {
        self.templates
            .get_or_init(Templates::new)
            .render(text, self.names(), code)
            .map_err(|source| Failure::Render { field: field.to_owned(), source })
    }
}

/// The names that the attempt's templates and expressions see, as JSON; `conn` among them holds secrets.
pub fn names(ctx: &AttemptContext) -> Value {
    airflow_context(&facts(ctx))
}

/// Whether a value counts as true, as Python and Jinja see it.
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

fn facts(ctx: &AttemptContext) -> RunFacts {
    let (run, task) = (&ctx.run, &ctx.task);
    RunFacts {
        dag_id: run.dag_id.to_string(),
        run_id: run.run_name.to_string(),
        run_type: run.run_type.clone(),
        logical_date: run.logical_date.map(|at| at.to_string()),
        data_interval_start: run.data_interval_start.map(|at| at.to_string()),
        data_interval_end: run.data_interval_end.map(|at| at.to_string()),
        run_after: Some(run.run_after.to_string()),
        previous: run.previous.as_ref().map(|previous| updraft_template::PreviousRun {
            logical_date: previous.logical_date.map(|at| at.to_string()),
            data_interval_start: previous.data_interval_start.map(|at| at.to_string()),
            data_interval_end: previous.data_interval_end.map(|at| at.to_string()),
            started_at: previous.started_at.map(|at| at.to_string()),
            ended_at: previous.ended_at.map(|at| at.to_string()),
        }),
        asset_events: run
            .asset_events
            .iter()
            .map(|(asset, events)| {
                (asset.clone(), serde_json::to_value(events).expect("invariant: an event is JSON"))
            })
            .collect(),
        sample: run.sample,
        task_id: task.task_id.to_string(),
        try_number: task.try_number,
        max_tries: task.max_tries,
        map_index: task.map_index,
        params: run.params.clone(),
        conf: run.conf.clone(),
        map: ctx.map.clone(),
        outputs: ctx.outputs.iter().map(|(task, value)| (task.to_string(), value.clone())).collect(),
        variables: ctx.variables.clone(),
        connections: ctx
            .connections
            .iter()
            .map(|(name, connection)| {
                (name.clone(), serde_json::to_value(connection).expect("invariant: a connection is JSON"))
            })
            .collect(),
    }
}
