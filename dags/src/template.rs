//! A light look at templates: are the delimiters balanced, which names do the expressions use?
//!
//! Rendering happens elsewhere (in attempts and in the script host). This scanner only finds what is decidably wrong
//! before a run: it knows Jinja's tokens, not its grammar, and accepts whatever it doesn't understand.

mod expression;
mod scan;

pub use expression::Reference;
pub use scan::{Problem, Template, scan};

/// The names that a template sees, as in Airflow's context.
pub const NAMES: &[&str] = &[
    "conn",
    "dag",
    "dag_run",
    "data_interval_end",
    "data_interval_start",
    "ds",
    "ds_nodash",
    "env",
    "expanded_ti_count",
    "inlet_events",
    "inlets",
    "logical_date",
    "macros",
    "map",
    "map_index_template",
    "outlet_events",
    "outlets",
    "outputs",
    "params",
    "prev_data_interval_end_success",
    "prev_data_interval_start_success",
    "prev_end_date_success",
    "prev_start_date_success",
    "run_after",
    "run_id",
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

/// Functions that every template has.
pub const FUNCTIONS: &[&str] = &["dict", "joiner", "cycler", "namespace", "range"];

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
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let inner = inner.strip_suffix('-').unwrap_or(inner);
    (!inner.contains("}}") && !inner.contains("{{")).then(|| inner.trim())
}
