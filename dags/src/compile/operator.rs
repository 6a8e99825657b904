//! The operator of a task: its parameters against the catalog's schema, defaults, templates and files.

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::{Context, branch, references::Found};
use crate::{
    amount,
    catalog::Operator,
    diagnostic::{Draft, code},
    json_schema,
    model::Runner,
    suggest, template,
    time::Span,
    tree::{Entry, Key, Kind, Node},
};

/// What was read of an operator.
pub(super) struct Args<'n> {
    pub(super) args: Map<String, Value>,
    pub(super) templated: std::collections::BTreeSet<String>,
    /// What the expressions use.
    pub(super) found: Vec<Found>,
    /// The tasks that a branch chooses from.
    pub(super) targets: Vec<(&'n str, crate::tree::ByteRange)>,
    /// Files that the parameters name: parameter, path as written, place.
    pub(super) files: Vec<(String, &'n Node)>,
}

/// What Airflow calls parameters: theirs and ours.
const FOREIGN_PARAMETERS: &[(&str, &str)] = &[
    ("bash_command", "command"),
    ("conn_id", "connection"),
    ("data", "body"),
    ("database", "connection"),
    ("endpoint", "path"),
    ("execution_date", "logical_date"),
    ("execution_delta", "offset"),
    ("external_dag_id", "dag_id"),
    ("external_task_id", "task_id"),
    ("external_task_ids", "task_id"),
    ("file_path", "path"),
    ("filepath", "path"),
    ("http_conn_id", "connection"),
    ("poke_interval", "interval"),
    ("postgres_conn_id", "connection"),
    ("python_callable", "code"),
    ("sql", "query"),
    ("target_time", "at"),
    ("trigger_dag_id", "dag_id"),
    ("wait_for_completion", "wait"),
];

/// What to say to those who look for Airflow's `deferrable`.
const DEFERRED: &str = "write `reschedule`, the default: it gives the slot back while it waits";

/// What a parameter of another system is called here, if the operator has it.
fn foreign_parameter(operator: &Operator, name: &str) -> Option<String> {
    if name == "deferrable" || (name == "mode" && operator.runner == Runner::Engine) {
        return Some("remove it: while it waits it takes no slot anyhow".to_owned());
    }
    let (_, ours) = FOREIGN_PARAMETERS.iter().find(|(theirs, _)| *theirs == name)?;
    operator.parameter(ours).map(|_| format!("write `{ours}`"))
}

/// A parameter and its value.
type Given<'g, 'n> = (&'g str, Option<&'n Key>, &'n Node);

impl Context<'_, '_> {
    pub(super) fn operator<'n>(&mut self, operator: &Operator, entry: &'n Entry) -> Args<'n> {
        let mut read = Args {
            args: Map::new(),
            templated: std::collections::BTreeSet::new(),
            found: Vec::new(),
            targets: Vec::new(),
            files: Vec::new(),
        };
        let given = self.given(operator, entry);
        self.unknown_and_missing(operator, entry, &given);
        if operator.name == branch::OPERATOR {
            for (name, _, node) in &given {
                if *name == branch::CASES {
                    let cases = self.cases(node, &mut read);
                    read.args.insert(branch::CASES.to_owned(), cases);
                }
            }
            return read;
        }
        for (name, _, node) in &given {
            read.args.insert((*name).to_owned(), node.to_json());
        }
        self.validate(operator, &read.args, &given, entry);
        for (name, _, node) in &given {
            self.parameter(operator, name, node, &mut read);
        }
        complete(&operator.schema, &mut read.args);
        read
    }

    /// The parameters, from the short or the long form.
    fn given<'g, 'n: 'g>(&mut self, operator: &'g Operator, entry: &'n Entry) -> Vec<Given<'g, 'n>> {
        match (&entry.value.kind, &operator.main) {
            (Kind::Null, _) => Vec::new(),
            (Kind::Map(entries), _) => {
                entries.iter().map(|e| (e.key.text.as_str(), Some(&e.key), &e.value)).collect()
            }
            (_, Some(main)) => vec![(main, None, &entry.value)],
            (_, None) => {
                let expected = "an object with its parameters";
                let names: Vec<&str> = operator.parameters().map(|(name, _)| name).collect();
                let help = match names.as_slice() {
                    [] => format!("write `{}: {{}}`: it has no parameters", operator.name),
                    _ => format!("its parameters are {}", suggest::list(names, "and")),
                };
                self.expected(&entry.value, &operator.name, expected, Some(help));
                Vec::new()
            }
        }
    }

    fn unknown_and_missing(&mut self, operator: &Operator, entry: &Entry, given: &[Given<'_, '_>]) {
        for (name, key, _) in given {
            if operator.parameter(name).is_some() {
                continue;
            }
            let names = || operator.parameters().map(|(name, _)| name);
            let theirs = || foreign_parameter(operator, name);
            let help = theirs().or_else(|| self.reporter.did_you_mean(name, names())).unwrap_or_else(|| {
                if names().next().is_none() {
                    "it has no parameters".to_owned()
                } else {
                    format!("its parameters are {}", suggest::list(names(), "and"))
                }
            });
            let message = format!("`{}` has no parameter `{name}`", operator.name);
            let at = key.map_or(entry.key.span, |key| key.span);
            self.push(Draft::error(code::DAG_PARAMETER, message).at(at, "unknown parameter").help(help));
        }
        for name in operator.required() {
            if given.iter().any(|(given, ..)| *given == name) {
                continue;
            }
            let message = format!("`{}` lacks the parameter `{name}`", operator.name);
            let help = if operator.main.as_deref() == Some(name) {
                Some(format!("write `{}: value` or `{}: {{ {name}: value }}`", operator.name, operator.name))
            } else {
                None
            };
            let draft = Draft::error(code::DAG_PARAMETER, message);
            self.push(draft.at(entry.key.span, format!("`{name}` must be given")).help(help));
        }
    }

    fn validate(
        &mut self,
        operator: &Operator,
        args: &Map<String, Value>,
        given: &[Given<'_, '_>],
        entry: &Entry,
    ) {
        let catalog = self.catalog;
        let Some(validator) = catalog.validator(&operator.name) else { return };
        let instance = Value::Object(args.clone());
        for error in validator.iter_errors(&instance) {
            let path = json_schema::path(&error);

            let at_root = path.is_empty();
            if at_root
                && matches!(
                    error.kind(),
                    ValidationErrorKind::Required { .. } | ValidationErrorKind::AdditionalProperties { .. }
                )
            {
                continue;
            }
            let templated = path.first().is_some_and(|name| operator.templated.contains(name));
            if templated && holds_expression(error.instance()) {
                continue;
            }
            let node = given
                .iter()
                .find(|(name, ..)| path.first().is_some_and(|first| first == name))
                .map(|(_, _, node)| path[1..].iter().fold(*node, |node, segment| step(node, segment)));
            let what =
                if at_root { operator.name.clone() } else { format!("{}.{}", operator.name, path.join(".")) };
            let exclusive = matches!(
                error.kind(),
                ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::OneOfMultipleValid { .. }
            );
            let message = match alternatives(&operator.schema).filter(|_| at_root && exclusive) {
                Some(names) => format!("`{what}` needs exactly one of {}", suggest::list(names, "or")),
                None => format!("`{what}` {}", json_schema::explain(&error)),
            };
            let at = node.map_or(entry.key.span, |node| node.span);
            let schema = path.first().filter(|_| path.len() == 1).and_then(|name| operator.parameter(name));
            let help = json_schema::help(&error, schema);
            let waits =
                path == ["mode"] && matches!(error.instance().as_str(), Some("deferred" | "deferrable"));
            let help = waits.then(|| DEFERRED.to_owned()).or(help);
            self.push(Draft::error(code::DAG_PARAMETER, message).at(at, "this value").help(help));
        }
    }

    fn parameter<'n>(&mut self, operator: &Operator, name: &str, node: &'n Node, read: &mut Args<'n>) {
        if operator.files.contains(name) {
            read.files.push((name.to_owned(), node));
            return;
        }
        if operator.templated.contains(name) {
            if self.expressions(node, &format!("{}.{name}", operator.name), false, &mut read.found) {
                read.templated.insert(name.to_owned());
            }
        } else {
            self.warn_inside(node, &format!("{}.{name}", operator.name));
        }
    }

    /// Reports expressions that nobody will render. A warning, since the braces may be meant as they stand (another
    /// program's template) and there is no other way to write them in such a field.
    pub(super) fn warn_if_expression(&mut self, text: &str, node: &Node, what: &str) {
        if template::has_expression(text) {
            self.push(
                Draft::warning(code::TEMPLATE_NOT_RENDERED, format!("`{what}` isn't a template"))
                    .at(node.span, "the braces stay as they stand")
                    .help(
                        "remove the expression, or ignore this if the braces are meant literally".to_owned(),
                    ),
            );
        }
    }

    // The recursion is bounded by the depth of the tree.
    pub(super) fn warn_inside(&mut self, node: &Node, what: &str) {
        match &node.kind {
            Kind::Str(text) => self.warn_if_expression(text, node, what),
            Kind::Seq(nodes) => nodes.iter().for_each(|node| self.warn_inside(node, what)),
            Kind::Map(entries) => entries.iter().for_each(|entry| self.warn_inside(&entry.value, what)),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => {}
        }
    }
}

/// The parameters of a schema's `oneOf` whose branches only require one each.
fn alternatives(schema: &Value) -> Option<Vec<&str>> {
    schema.get("oneOf")?.as_array()?.iter().map(|branch| branch.get("required")?.get(0)?.as_str()).collect()
}

fn step<'n>(node: &'n Node, segment: &str) -> &'n Node {
    node.get(segment).or_else(|| node.at(segment.parse().ok()?)).unwrap_or(node)
}

fn holds_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => template::has_expression(text),
        Value::Array(values) => values.iter().any(holds_expression),
        Value::Object(values) => values.values().any(holds_expression),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Adds the schema's defaults and spells values that can be written in several ways in one.
fn complete(schema: &Value, args: &mut Map<String, Value>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    args.retain(|_, value| !value.is_null());
    for (name, schema) in properties {
        match args.get_mut(name) {
            None => {
                if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
                    args.insert(name.clone(), default.clone());
                }
            }
            Some(Value::String(text)) => {
                if let Some(canonical) = respell(schema, text) {
                    *text = canonical;
                }
            }
            Some(Value::Object(inner)) => complete(schema, inner),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {}
        }
    }
}

fn respell(schema: &Value, text: &str) -> Option<String> {
    match schema.get("format")?.as_str()? {
        "span" => text.parse::<Span>().ok().map(|span| span.to_string()),
        "size" => amount::bytes(text).ok().map(amount::show_bytes),
        "timestamp" => text.parse::<crate::time::Timestamp>().ok().map(|instant| instant.to_string()),
        _ => None,
    }
}
