//! Evaluating templates and expressions.

use std::{
    fmt::{self, Write as _},
    io,
};

use minijinja::{Environment, Value, value::ValueKind};

use crate::{
    environment,
    error::Error,
    instant::Instant,
    record::{Record, plain},
    source::{check, check_expression, has_expression, whole_expression},
};

/// The longest result of one template or expression, in bytes of text or JSON.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// Names whose text values templates see as instants.
const INSTANTS: [&str; 9] = [
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "run_after",
    "prev_logical_date_success",
    "prev_data_interval_start_success",
    "prev_data_interval_end_success",
    "prev_start_date_success",
    "prev_end_date_success",
];

/// Evaluates templates and expressions; cheap to keep, made once.
pub struct Templates {
    plain: Environment<'static>,
    code: Environment<'static>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").finish_non_exhaustive()
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

impl Templates {
    /// Builds both environments: for text and for code.
    pub fn new() -> Self {
        Self { plain: environment::build(false), code: environment::build(true) }
    }

    /// Renders one text.
    ///
    /// A text without an expression comes back as it is. A text that is one whole `{{ expression }}` keeps the
    /// expression's type, except in a code field, where the result is always text and values may consist of harmless
    /// characters only unless a quoting filter made them.
    pub fn render(
        &self,
        source: &str,
        ctx: &serde_json::Value,
        code_field: bool,
    ) -> Result<serde_json::Value, Error> {
        self.render_in(source, &prepare(ctx), code_field)
    }

    /// Renders every text inside of a value: lists and objects are walked, keys and other values stay.
    ///
    /// An error's message is preceded by the path to the text.
    pub fn render_all(
        &self,
        value: &serde_json::Value,
        ctx: &serde_json::Value,
        code_field: bool,
    ) -> Result<serde_json::Value, Error> {
        self.walk(value, &prepare(ctx), code_field, &mut String::new())
    }

    /// Evaluates one expression, with or without its braces, to a value of its own type.
    pub fn eval(&self, expression: &str, ctx: &serde_json::Value) -> Result<serde_json::Value, Error> {
        let bare = whole_expression(expression).unwrap_or(expression);
        if bare.len() == expression.len()
            && has_expression(expression)
            && !expression.trim_start().starts_with('{')
        {
            return Err(Error::new("expected one expression, found a text with expressions in it")
                .hint("write `{{ a < b }}` alone"));
        }
        self.eval_in(bare, &prepare(ctx))
    }

    fn walk(
        &self,
        value: &serde_json::Value,
        ctx: &Value,
        code_field: bool,
        path: &mut String,
    ) -> Result<serde_json::Value, Error> {
        use serde_json::Value as Json;
        let depth = path.len();
        match value {
            Json::String(text) => self.render_in(text, ctx, code_field).map_err(|error| {
                let message = if path.is_empty() {
                    error.message
                } else {
                    format!("{}: {}", path.trim_start_matches('.'), error.message)
                };
                Error { message, ..error }
            }),
            Json::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    let _ = write!(path, "[{i}]");
                    out.push(self.walk(item, ctx, code_field, path)?);
                    path.truncate(depth);
                }
                Ok(Json::Array(out))
            }
            Json::Object(map) => {
                let mut out = serde_json::Map::new();
                for (key, item) in map {
                    path.push('.');
                    path.push_str(key);
                    out.insert(key.clone(), self.walk(item, ctx, code_field, path)?);
                    path.truncate(depth);
                }
                Ok(Json::Object(out))
            }
            other => Ok(other.clone()),
        }
    }

    fn render_in(&self, source: &str, ctx: &Value, code_field: bool) -> Result<serde_json::Value, Error> {
        if !has_expression(source) {
            return Ok(source.into());
        }
        check(source)?;
        if !code_field && let Some(expression) = whole_expression(source) {
            return self.eval_in(expression, ctx);
        }
        let env = if code_field { &self.code } else { &self.plain };
        let template = env.template_from_str(source)?;
        let mut out = Limited { bytes: Vec::new(), full: false };
        let rendered = template.render_captured_to(ctx.clone(), &mut out);
        if out.full {
            return Err(output_limit());
        }
        rendered?;
        String::from_utf8(out.bytes).map(Into::into).map_err(|_| Error::new("the result isn't UTF-8 text"))
    }

    fn eval_in(&self, expression: &str, ctx: &Value) -> Result<serde_json::Value, Error> {
        check_expression(expression)?;
        let value = self.plain.compile_expression(expression)?.eval(ctx.clone())?;
        match value.kind() {
            ValueKind::Undefined => {
                return Err(Error::new(format!("`{expression}` names a value that doesn't exist"))
                    .hint("give it a value, or write `| default(...)`"));
            }
            ValueKind::Plain => return Ok(value.to_string().into()),
            ValueKind::Map if value.downcast_object_ref::<Record>().is_some() => {
                return Ok(value.to_string().into());
            }
            _ => {}
        }
        // Serializing through a limited writer bounds what lazy lists can unfold to.
        let mut out = Limited { bytes: Vec::new(), full: false };
        let written = serde_json::to_writer(&mut out, &value);
        if out.full {
            return Err(output_limit());
        }
        written.map_err(|e| Error::new(format!("the value has no JSON form: {e}")))?;
        serde_json::from_slice(&out.bytes).map_err(|e| Error::new(format!("the value has no JSON form: {e}")))
    }
}

fn output_limit() -> Error {
    Error::new(format!("the result is larger than {OUTPUT_BYTES_MAX} bytes (limit: output)"))
        .hint("make it smaller, or build it in the task's own code")
}

/// The context as the engine sees it: instants for the names that stand for some, records for `var` and `conn`.
fn prepare(ctx: &serde_json::Value) -> Value {
    let serde_json::Value::Object(map) = ctx else { return plain(ctx) };
    Value::from_pairs(map.iter().map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("conn", value) => Record::wrap(value, 2),
            ("var", value) => Record::wrap(value, 1),
            ("dag_run", serde_json::Value::Object(inner)) => {
                Value::from_pairs(inner.iter().map(|(name, value)| (name.clone(), instant(name, value))))
            }
            (name, value) => instant(name, value),
        };
        (name.clone(), value)
    }))
}

fn instant(name: &str, value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::String(text) if INSTANTS.contains(&name) => {
            Instant::parse(text).map_or_else(|| Value::from(text.as_str()), Instant::value)
        }
        other => plain(other),
    }
}

/// Collects at most [`OUTPUT_BYTES_MAX`] bytes.
struct Limited {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_BYTES_MAX {
            self.full = true;
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
