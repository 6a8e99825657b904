//! `updraft show`: a DAG as a graph.

use dags::{graph, model::Dag};
use serde_json::Value;

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines in the terminal.
    Text,
    /// Graphviz' language.
    Dot,
    /// Mermaid's language.
    Mermaid,
    /// The canonical form, which the version is the hash of.
    Json,
}

/// The graph, or the canonical form, of a DAG. Ends with a line feed.
pub fn show(dag: &Dag, format: Format) -> String {
    let mut text = match format {
        Format::Text => graph::text(dag),
        Format::Dot => graph::dot(dag),
        Format::Mermaid => graph::mermaid(dag),
        Format::Json => {
            let canonical: Value = serde_json::from_slice(&dags::canonical::bytes(dag))
                .expect("invariant: the canonical form is JSON");
            serde_json::to_string_pretty(&canonical).expect("invariant: it was JSON")
        }
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
