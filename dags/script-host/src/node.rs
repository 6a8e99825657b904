//! The document tree that a script becomes: the same JSON form that the YAML parser's tree has.

use serde::{Deserialize, Serialize};

/// How deep a tree may be; the readers' limit.
pub const DEPTH_MAX: usize = 30;

/// A half-open range of bytes of the main file.
pub type Span = (usize, usize);

/// A value and where the script said it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Where the call stands that gave the value.
    pub span: Span,
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
    /// Pairs; no key twice.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// A key and where the script said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Where the call stands.
    pub span: Span,
    /// The key itself.
    pub text: String,
}

impl Node {
    /// A text.
    pub fn text(span: Span, text: impl Into<String>) -> Self {
        Self { span, kind: Kind::Str(text.into()) }
    }
}

impl Entry {
    /// A pair whose key has a place of its own.
    pub fn new(span: Span, key: impl Into<String>, value: Node) -> Self {
        Self { key: Key { span, text: key.into() }, value }
    }
}
