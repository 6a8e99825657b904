//! A Rhai task: a script with variables in, a value out.

use rhai::{Dynamic, Engine, Scope};
use serde_json::Value;

use crate::{
    convert::{from_json, to_json},
    fault::{self, Fault},
    language::Language,
    source::Source,
};

/// Runs the script with the context's fields as constants; the last expression is its result.
pub(crate) fn run(engine: &Engine, path: &str, text: &str, context: &Value) -> Result<Value, Fault> {
    let source = Source::new(path, text);
    let mut scope = Scope::new();
    if let Value::Object(map) = context {
        for (name, value) in map {
            scope.push_constant_dynamic(name.as_str(), from_json(value));
        }
    }
    let mut ast =
        engine.compile_with_scope(&scope, text).map_err(|error| fault::parsing(&error, &source, path))?;
    ast.set_source(path);
    let result: Dynamic = engine
        .eval_ast_with_scope(&mut scope, &ast)
        .map_err(|error| fault::evaluation(*error, &source, &Language::default(), path))?;
    to_json(&result, 0)
}
