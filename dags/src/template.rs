//! A light look at templates: are the delimiters balanced, which names do the expressions use?
//!
//! Rendering happens elsewhere (in attempts and in the script host). This scanner only finds what is decidably wrong
//! before a run: it knows Jinja's tokens, not its grammar, and accepts whatever it doesn't understand.

mod expression;
mod scan;

pub use expression::{Reference, Word};
pub use scan::{Problem, Template, scan};

/// The names that a template sees: those that the renderer (`updraft-template`) provides, which are Airflow's.
pub const NAMES: &[&str] = &[
    "conn",
    "dag",
    "dag_run",
    "data_interval_end",
    "data_interval_start",
    "ds",
    "ds_nodash",
    "logical_date",
    "macros",
    "map",
    "map_index",
    "outputs",
    "params",
    "prev_data_interval_end_success",
    "prev_data_interval_start_success",
    "prev_end_date_success",
    "prev_logical_date_success",
    "prev_start_date_success",
    "run_after",
    "run_id",
    "sample",
    "task",
    "task_instance",
    "task_instance_key_str",
    "test_mode",
    "ti",
    "triggering_asset_events",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "var",
];

/// The filters that the renderer has.
pub const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "ds",
    "ds_nodash",
    "first",
    "float",
    "format",
    "groupby",
    "ident",
    "indent",
    "int",
    "items",
    "join",
    "json",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "raw",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sh",
    "sort",
    "split",
    "sql",
    "string",
    "sum",
    "title",
    "tojson",
    "tomorrow_ds",
    "trim",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "unique",
    "upper",
    "yesterday_ds",
];

/// The tests that it has.
pub const TESTS: &[&str] = &[
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
];

/// Functions that every template has.
pub const FUNCTIONS: &[&str] = &["dict", "range"];

/// Names of Airflow's context that stand for nothing here.
pub(crate) const AIRFLOW_ONLY: &[&str] = &[
    "exception",
    "expanded_ti_count",
    "inlet_events",
    "inlets",
    "map_index_template",
    "outlet_events",
    "outlets",
    "reason",
    "templates_dict",
    "try_number",
];

/// Names that Airflow once had, with today's spelling.
pub(crate) const REMOVED: &[(&str, &str)] = &[
    ("execution_date", "logical_date"),
    ("next_execution_date", "data_interval_end"),
    ("prev_execution_date", "prev_data_interval_start_success"),
    ("next_ds", "data_interval_end | ds"),
    ("prev_ds", "prev_data_interval_start_success | ds"),
    ("yesterday_ds", "macros.ds_add(ds, -1)"),
    ("tomorrow_ds", "macros.ds_add(ds, 1)"),
    ("tables", "params"),
    ("conf", "dag_run.conf"),
];

/// Whether a text holds anything to render.
pub fn has_expression(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        if rest[at + 1..].starts_with(['{', '%', '#']) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// The expression of a text that is one whole `{{ expression }}` and nothing else.
pub fn whole_expression(text: &str) -> Option<&str> {
    let text = text.trim();
    let end = scan::closing(text, text.strip_prefix("{{").map(|_| 2)?, "}}")?;
    let inner = text[2..end].trim_start_matches(['-', '+']).trim_end_matches('-');
    (end + 2 == text.len()).then(|| inner.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The renderer is of another workspace, so its text is asked.
    #[test]
    fn filters_and_tests_are_the_renderers() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("script-host/template/src");
        let source: String = ["filters.rs", "macros.rs", "methods.rs", "environment.rs"]
            .map(|name| std::fs::read_to_string(folder.join(name)).unwrap())
            .concat();
        for (call, known) in [("add_filter(\"", FILTERS), ("add_test(\"", TESTS)] {
            let names = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            let mut names: Vec<&str> = names.collect();
            names.sort_unstable();
            assert_eq!(names, known);
        }
    }

    #[test]
    fn a_whole_expression_is_told_from_a_text_with_expressions() {
        assert_eq!(whole_expression(" {{ a }} "), Some("a"));
        assert_eq!(whole_expression("{{- a ~ '}}' -}}"), Some("a ~ '}}'"));
        assert_eq!(whole_expression("{{ {'a': {'b': 1}}['a'] }}"), Some("{'a': {'b': 1}}['a']"));
        for text in ["{{ a }}{{ b }}", "x {{ a }}", "{{ a", "a", "{{}", ""] {
            assert_eq!(whole_expression(text), None, "{text}");
        }
    }
}
