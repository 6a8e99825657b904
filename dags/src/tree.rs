//! The document tree with spans: what a front end hands to [`crate::compile`].
//!
//! The YAML parser makes it, and so does the script host, a program that shares no code with us, as JSON. So the JSON
//! form is a contract:
//!
//! ```json
//! {"span": [0, 9], "kind": {"map": [{"key": {"span": [0, 3], "text": "dag"}, "value": {"span": [5, 9], "kind": {"str": "demo"}}}]}}
//! ```
//!
//! Kinds are `"null"`, `{"bool": true}`, `{"int": 1}`, `{"float": 0.5}`, `{"str": ""}`, `{"seq": [node, ...]}` and
//! `{"map": [{"key", "value"}, ...]}`. A span is a half-open range of bytes of the source text.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How deep a tree may be. Its JSON form nests four times as deep and stays within what JSON parsers accept (128).
pub const DEPTH_MAX: usize = 30;

/// A half-open range of bytes of a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(from = "(usize, usize)", into = "(usize, usize)")]
pub struct ByteRange {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl ByteRange {
    /// From `start` up to but without `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl From<(usize, usize)> for ByteRange {
    fn from((start, end): (usize, usize)) -> Self {
        Self { start, end }
    }
}

impl From<ByteRange> for (usize, usize) {
    fn from(range: ByteRange) -> Self {
        (range.start, range.end)
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Where it was written.
    pub span: ByteRange,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number; always finite.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// Pairs, in the order in which they were written; no key twice.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// A key and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Where it was written.
    pub span: ByteRange,
    /// The key itself.
    pub text: String,
}

impl Node {
    /// What the node is, in words that fit after "found".
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(value) => format!("`{value}`"),
            Kind::Int(value) => format!("the number {value}"),
            Kind::Float(value) => format!("the number {value}"),
            Kind::Str(text) if text.is_empty() => "an empty text".to_owned(),
            Kind::Str(text) if text.len() <= 40 && !text.contains('\n') => format!("the text `{text}`"),
            Kind::Str(_) => "a text".to_owned(),
            Kind::Seq(_) => "a list".to_owned(),
            Kind::Map(_) => "a group of `key: value` pairs".to_owned(),
        }
    }

    /// The text, if the node is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Kind::Str(text) = &self.kind { Some(text) } else { None }
    }

    /// The value of a key, if the node is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|entry| entry.key.text == key).map(|entry| &entry.value)
    }

    /// The value at that place in a list.
    pub fn at(&self, index: usize) -> Option<&Node> {
        if let Kind::Seq(nodes) = &self.kind { nodes.get(index) } else { None }
    }

    /// The same value without spans.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => Value::from(*value),
            Kind::Float(value) => Value::from(*value),
            Kind::Str(text) => Value::String(text.clone()),
            Kind::Seq(nodes) => nodes.iter().map(Self::to_json).collect(),
            Kind::Map(entries) => {
                entries.iter().map(|entry| (entry.key.text.clone(), entry.value.to_json())).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_is_the_documented_one() {
        let text = r#"{"span":[0,9],"kind":{"map":[{"key":{"span":[0,3],"text":"dag"},"value":{"span":[5,9],"kind":{"str":"demo"}}}]}}"#;
        let tree: Node = serde_json::from_str(text).unwrap();
        assert_eq!(tree.get("dag").and_then(Node::as_str), Some("demo"));
        assert_eq!(serde_json::to_string(&tree).unwrap(), text);
        let null: Node = serde_json::from_str(r#"{"span":[0,0],"kind":"null"}"#).unwrap();
        assert_eq!(null.kind, Kind::Null);
    }

    #[test]
    fn the_deepest_tree_survives_its_json_form() {
        let leaf = Node { span: ByteRange::default(), kind: Kind::Null };
        let tree = (1..DEPTH_MAX).fold(leaf, |value, _| {
            let key = Key { span: ByteRange::default(), text: "k".into() };
            Node { span: ByteRange::default(), kind: Kind::Map(vec![Entry { key, value }]) }
        });
        let text = serde_json::to_string(&tree).unwrap();
        assert_eq!(serde_json::from_str::<Node>(&text).unwrap(), tree);
    }
}
