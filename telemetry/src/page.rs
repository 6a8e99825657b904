//! The page of all metrics, made from their table.

use std::fmt::Write as _;

use crate::metric::{Kind, Metric};

const HEAD: &str = "\
# Metrics

Every metric of the service. This page is made by the program: `updraft config metrics > docs/metrics.md`. How to read them, and
what to do when one of them is off, is in [operating.md](operating.md).

They are at `/metrics`, in the text format of Prometheus: on the API's Unix socket, and on the port of `monitoring.listen`
([configuration.md](configuration.md)). No label holds the name of a run, a DAG, a task or a tenant.

| metric | kind | labels | of | |
| --- | --- | --- | --- | --- |
";

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for metric in Metric::ALL {
        let row = metric.row();
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> =
            row.labels.iter().map(|(name, values)| format!("`{name}`: {values}")).collect();
        let (name, labels, help) = (row.name, labels.join("; "), row.help.trim());
        let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {} | {help} |", row.roles);
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == markdown(),
            "docs/metrics.md is out of date: run `updraft config metrics > docs/metrics.md`"
        );
    }

    #[test]
    fn names_are_unique_and_say_what_they_are() {
        let names: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            let ours = metric.name().starts_with("updraft_") || metric.name().starts_with("process_");
            assert!(ours, "{metric:?}");
            if matches!(metric.kind(), Kind::Counter) {
                assert!(metric.name().ends_with("_total"), "{metric:?} is a counter");
            }
        }
    }
}
