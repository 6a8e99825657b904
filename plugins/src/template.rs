//! Renders the templates of an attempt; the only place of this crate that knows the template library.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::{Value, json};

use crate::{context::AttemptContext, operator::Failure};

/// Why a template failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Renders the templates of one attempt. The names are built when the first expression is met.
pub(crate) struct Renderer<'a> {
    ctx: &'a AttemptContext,
    names: OnceCell<Value>,
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(ctx: &'a AttemptContext) -> Self {
        Self { ctx, names: OnceCell::new() }
    }

    /// The names that templates and Python code see, without connections.
    pub(crate) fn names(&self) -> &Value {
        self.names.get_or_init(|| json!({"ds": self.ctx.run.logical_date.map(|d| d.airflow()[..10].to_owned()), "params": self.ctx.run.params, "map": self.ctx.map, "outputs": self.ctx.outputs}))
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

    fn render(&self, field: &str, text: &str, _code: bool) -> Result<Value, Failure> {
        minijinja::Environment::new()
            .render_str(text, minijinja::Value::from_serialize(self.names()))
            .map(Value::from)
            .map_err(|e| Failure::Render { field: field.to_owned(), source: Error(e.to_string()) })
    }
}

fn has_expression(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}
