//! `map`: what a task or a group is repeated over.

use super::{Context, MAP_LENGTH_MAX};
use crate::{
    diagnostic::{Draft, code},
    ids::TaskId,
    model::{Map, MapSource},
    tree::{ByteRange, Entry, Kind, Node},
};

/// A map with the places of the tasks whose results it takes.
pub(super) struct MapDraft<'n> {
    pub(super) map: Map,
    pub(super) outputs: Vec<(&'n str, ByteRange)>,
    pub(super) at: ByteRange,
}

impl Context<'_, '_> {
    pub(super) fn map<'n>(&mut self, entry: &'n Entry) -> Option<MapDraft<'n>> {
        let node = &entry.value;
        let Kind::Map(entries) = &node.kind else {
            let help =
                "for example `map: { store: [berlin, paris] }` or `map: { store: { output: stores } }`";
            self.expected(node, "map", "variables with their values", Some(help.to_owned()));
            return None;
        };
        let mut draft =
            MapDraft { map: Map { over: Vec::new(), zip: false }, outputs: Vec::new(), at: entry.key.span };
        for entry in entries {
            let name = entry.key.text.as_str();
            if name == "zip" {
                draft.map.zip = self.flag(&entry.value, "zip").unwrap_or(false);
                continue;
            }
            if !is_identifier(name) {
                let message = format!("`{name}` can't be the name of a mapped variable");
                self.push(
                    Draft::error(code::DAG_NAME, message)
                        .at(entry.key.span, "letters, digits and `_`, not starting with a digit"),
                );
                continue;
            }
            if let Some(source) = self.source(name, &entry.value, &mut draft.outputs) {
                draft.map.over.push((name.to_owned(), source));
            }
        }
        if draft.map.over.is_empty() {
            if entries.iter().all(|entry| entry.key.text == "zip") {
                self.expected(node, "map", "at least one variable", None);
            }
            return None;
        }
        self.lengths(&draft, node);
        if draft.map.zip {
            // In step the order of the variables means nothing.
            draft.map.over.sort_by(|a, b| a.0.cmp(&b.0));
        }
        // So does walking a single list in step.
        draft.map.zip &= draft.map.over.len() > 1;
        Some(draft)
    }

    fn source<'n>(
        &mut self,
        name: &str,
        node: &'n Node,
        outputs: &mut Vec<(&'n str, ByteRange)>,
    ) -> Option<MapSource> {
        match &node.kind {
            Kind::Seq(nodes) => {
                self.warn_inside(node, &format!("map.{name}"));
                Some(MapSource::Literal(nodes.iter().map(Node::to_json).collect()))
            }
            Kind::Map(_) => {
                let object = self.object(node, &format!("`{name}`"), &["output"])?;
                let task = self.required(&object, "output", name)?;
                let id: TaskId = self.name(task, "output")?;
                outputs.push((task.as_str()?, task.span));
                Some(MapSource::Output(id))
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str(_) => {
                let help = match &node.kind {
                    Kind::Str(text) if text.contains("outputs.") || text.contains("xcom") => {
                        Some("to map over a task's result write `{ output: task }`".to_owned())
                    }
                    _ => None,
                };
                self.expected(node, name, "a list or `{ output: task }`", help);
                None
            }
        }
    }

    fn lengths(&mut self, draft: &MapDraft<'_>, node: &Node) {
        let literal = draft.map.over.iter().filter_map(|(_, source)| match source {
            MapSource::Literal(values) => Some(values.len()),
            MapSource::Output(_) => None,
        });
        let lengths: Vec<usize> = literal.collect();
        if lengths.contains(&0) {
            self.push(
                Draft::warning(code::DAG_MAP, "the list is empty, so the task is always skipped")
                    .at(node.span, "nothing to map over"),
            );
        }
        let (most, least) = (lengths.iter().max().copied(), lengths.iter().min().copied());
        if draft.map.zip && most != least {
            self.push(
                Draft::warning(code::DAG_MAP, "the lists that `zip` joins have different lengths")
                    .at(node.span, "the shortest ends it"),
            );
        }
        let total = if draft.map.zip {
            most.unwrap_or(0)
        } else {
            lengths.iter().fold(1_usize, |total, length| total.saturating_mul(*length))
        };
        if total > MAP_LENGTH_MAX {
            self.push(
                Draft::error(
                    code::DAG_LIMIT,
                    format!("{total} mapped instances; at most {MAP_LENGTH_MAX} are allowed"),
                )
                .at(node.span, "the product of these lists"),
            );
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && name.len() <= crate::ids::NAME_BYTES_MAX
}
