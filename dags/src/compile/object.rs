//! Readers for maps: unknown keys get a suggestion, keys without a value are told so.

use super::{Context, keys};
use crate::{
    diagnostic::{Draft, code},
    suggest,
    tree::{ByteRange, Entry, Key, Kind, Node},
};

/// A map whose keys were checked.
pub(super) struct Object<'n> {
    entries: &'n [Entry],
    pub(super) span: ByteRange,
}

impl<'n> Object<'n> {
    /// The value of a key, if it has one.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value).filter(|node| node.kind != Kind::Null)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key.text == key)
    }

    pub(super) fn entries(&self) -> &'n [Entry] {
        self.entries
    }
}

impl Context<'_, '_> {
    /// A map with these keys and no others.
    pub(super) fn object<'n>(&mut self, node: &'n Node, what: &str, keys: &[&str]) -> Option<Object<'n>> {
        let Kind::Map(entries) = &node.kind else {
            let expected =
                format!("a group of `key: value` pairs with {}", suggest::list(keys.iter().copied(), "and"));
            self.expected(node, what, &expected, None);
            return None;
        };
        for entry in entries {
            self.known_key(&entry.key, &entry.value, what, keys);
        }
        Some(Object { entries, span: node.span })
    }

    /// A map with any keys.
    pub(super) fn pairs<'n>(&mut self, node: &'n Node, what: &str, of: &str) -> &'n [Entry] {
        if let Kind::Map(entries) = &node.kind {
            return entries;
        }
        self.expected(node, what, of, None);
        &[]
    }

    /// A map whose keys the caller checks.
    pub(super) fn open_object<'n>(&mut self, node: &'n Node, what: &str, of: &str) -> Option<Object<'n>> {
        if let Kind::Map(entries) = &node.kind {
            return Some(Object { entries, span: node.span });
        }
        self.expected(node, what, of, None);
        None
    }

    pub(super) fn known_key(&mut self, key: &Key, value: &Node, what: &str, keys: &[&str]) {
        if !keys.contains(&key.text.as_str()) {
            self.unknown_key(key, what, keys);
        } else if value.kind == Kind::Null {
            self.no_value(key);
        }
    }

    pub(super) fn no_value(&mut self, key: &Key) {
        self.push(
            Draft::error(code::DAG_TYPE, format!("`{}` has no value", key.text))
                .at(key.span, "nothing follows")
                .help("write a value, or remove the line".to_owned()),
        );
    }

    pub(super) fn unknown_key(&mut self, key: &Key, what: &str, keys: &[&str]) {
        let text = key.text.as_str();
        let help = keys::foreign(text)
            .filter(|(_, ours, _)| keys.contains(ours))
            .map(|(_, ours, note)| format!("write `{ours}`{note}"))
            .or_else(|| self.reporter.did_you_mean(text, keys.iter().copied()))
            .unwrap_or_else(|| format!("known keys are {}", suggest::list(keys.iter().copied(), "and")));
        self.push(
            Draft::error(code::DAG_UNKNOWN_KEY, format!("{what} has no key `{text}`"))
                .at(key.span, "unknown key")
                .help(help),
        );
    }
}
