//! A plan of a deployment, for people.

use api::v1::bundles::{Cause, Change, Difference, Plan, PlannedDag};
use serde_json::Value;

use super::{Error, deploy::short, screen::Screen};
use crate::terminal::{Tone, paint};

/// The longest value that is shown.
const VALUE_CHARS_MAX: usize = 72;
/// How much of a version is shown, with its `v1:`.
const VERSION_CHARS: usize = 15;

/// Writes what would change and what stands in the way.
pub(super) fn show(screen: &mut Screen<'_>, plan: &Plan) -> Result<(), Error> {
    let base = plan.base.as_deref().map_or("nothing is active", short);
    screen.line(&format!("{base} -> {}", short(&plan.bundle)))?;
    let mut unchanged = 0;
    for dag in &plan.dags {
        let (mark, tone, word) = match dag.change {
            Change::New => ("+", Tone::Good, "new"),
            Change::Changed => ("~", Tone::Warn, "changed"),
            Change::Removed => ("-", Tone::Bad, "removed"),
            Change::Unchanged => {
                unchanged += 1;
                continue;
            }
        };
        let head = paint(&format!("{mark} {}", dag.dag_id), tone, screen.colour);
        screen.line(&format!("{head}  {word}{}", versions(dag)))?;
        for difference in dag.differences.iter().flatten() {
            let line = paint(&text(difference), Tone::Dim, screen.colour);
            screen.line(&format!("    {line}"))?;
        }
    }
    if unchanged > 0 {
        screen.line(&format!("= {unchanged} unchanged"))?;
    }
    for trouble in &plan.troubles {
        let (word, tone) = match trouble.cause {
            Cause::File | Cause::Permission => ("error:", Tone::Bad),
            Cause::Missing | Cause::Folder => ("missing:", Tone::Warn),
        };
        let word = if trouble.cause == Cause::Folder { "folder:" } else { word };
        screen.line(&format!("{} {}", paint(word, tone, screen.colour), trouble.message.trim_end()))?;
    }
    Ok(())
}

fn versions(dag: &PlannedDag) -> String {
    let short = |version: &String| version.get(..VERSION_CHARS).unwrap_or(version).to_owned();
    match (&dag.before, &dag.after) {
        (Some(before), Some(after)) => format!("  {} -> {}", short(before), short(after)),
        _ => String::new(),
    }
}

fn text(difference: &Difference) -> String {
    let Difference { path, before, after } = difference;
    match (before, after) {
        (None, Some(after)) => format!("+ {path}: {}", value(after)),
        (Some(before), None) => format!("- {path}: {}", value(before)),
        _ if path.starts_with("files.") || path.starts_with("plugins.") => format!("{path}: other content"),
        (before, after) => {
            let shown = |one: &Option<Value>| one.as_ref().map_or_else(|| "nothing".to_owned(), value);
            format!("{path}: {} -> {}", shown(before), shown(after))
        }
    }
}

/// A value on one line, without what a terminal would take for orders.
fn value(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_read_well() {
        let of = |path: &str, before: Option<Value>, after: Option<Value>| {
            text(&Difference { path: path.to_owned(), before, after })
        };
        assert_eq!(of("tasks.a.retries", Some(1.into()), Some(3.into())), "tasks.a.retries: 1 -> 3");
        assert_eq!(
            of("files.load.sql", Some("aa".into()), Some("bb".into())),
            "files.load.sql: other content"
        );
        assert_eq!(of("doc", None, Some("\u{1b}[31m".into())), "+ doc: \"\\u001b[31m\"");
        let long = of("tags.0", Some("x".repeat(100).into()), None);
        assert!(long.ends_with('…') && long.chars().count() < 90, "{long}");
    }
}
