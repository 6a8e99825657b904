//! Readers for single values: each reports what it expected, what it found and where, and then yields nothing.

use std::{collections::BTreeSet, fmt::Display};

use super::FileLookup;
use crate::{
    amount,
    catalog::Catalog,
    diagnostic::{Draft, Reporter, code},
    ids::InvalidName,
    suggest,
    time::{InvalidSpan, Span},
    tree::{Kind, Node},
};

/// What all passes share.
pub(super) struct Context<'c, 's> {
    pub(super) reporter: Reporter<'s>,
    pub(super) catalog: &'c Catalog,
    pub(super) files: &'c dyn FileLookup,
    /// Places that ask for what their executor hasn't and were reported.
    pub(super) lacking: BTreeSet<usize>,
}

impl Context<'_, '_> {
    pub(super) fn push(&mut self, draft: Draft) {
        self.reporter.push(draft);
    }

    /// Reports a value of the wrong kind.
    pub(super) fn expected(&mut self, node: &Node, what: &str, expected: &str, help: Option<String>) {
        let message = format!("`{what}`: expected {expected}, found {}", node.describe());
        self.push(
            Draft::error(code::DAG_TYPE, message).at(node.span, format!("expected {expected}")).help(help),
        );
    }

    /// Reports a value of the right kind that isn't allowed.
    pub(super) fn refused(&mut self, node: &Node, what: &str, why: impl Display) {
        self.push(Draft::error(code::DAG_VALUE, format!("`{what}` {why}")).at(node.span, "this value"));
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Str(text) => Some(text),
            Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) => {
                let span = node.span;
                let written =
                    self.reporter.source().text.get(span.start..span.end).unwrap_or_default().to_owned();
                let help = format!("put it into quotes: `\"{written}\"`");
                self.expected(node, what, "a text", Some(help));
                None
            }
            Kind::Null | Kind::Seq(_) | Kind::Map(_) => {
                self.expected(node, what, "a text", None);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        if let Kind::Bool(value) = node.kind {
            return Some(value);
        }
        let quoted = matches!(node.as_str(), Some("true" | "false"));
        self.expected(node, what, "`true` or `false`", quoted.then(|| "remove the quotes".to_owned()));
        None
    }

    pub(super) fn whole(&mut self, node: &Node, what: &str, least: i64, most: i64) -> Option<i64> {
        let Kind::Int(value) = node.kind else {
            let help = match &node.kind {
                Kind::Str(text) if text.parse::<i64>().is_ok() => Some("remove the quotes".to_owned()),
                _ => None,
            };
            self.expected(node, what, "a whole number", help);
            return None;
        };
        if (least..=most).contains(&value) {
            return Some(value);
        }
        self.refused(node, what, format_args!("must be between {least} and {most}, but is {value}"));
        None
    }

    pub(super) fn count(&mut self, node: &Node, what: &str, least: u32, most: u32) -> Option<u32> {
        self.whole(node, what, i64::from(least), i64::from(most)).map(|value| value as u32)
    }

    pub(super) fn number(&mut self, node: &Node, what: &str, least: f64, most: f64) -> Option<f64> {
        let value = match node.kind {
            Kind::Int(value) => value as f64,
            Kind::Float(value) => value,
            Kind::Null | Kind::Bool(_) | Kind::Str(_) | Kind::Seq(_) | Kind::Map(_) => {
                self.expected(node, what, "a number", None);
                return None;
            }
        };
        if (least..=most).contains(&value) {
            return Some(value);
        }
        self.refused(node, what, format_args!("must be between {least} and {most}, but is {value}"));
        None
    }

    pub(super) fn span(&mut self, node: &Node, what: &str) -> Option<Span> {
        let error = match &node.kind {
            Kind::Str(text) => match text.parse::<Span>() {
                Ok(span) => return Some(span),
                Err(error) => error,
            },
            Kind::Int(number) => InvalidSpan::NoUnit(number.to_string()),
            Kind::Float(number) => InvalidSpan::NoUnit(number.to_string()),
            Kind::Null | Kind::Bool(_) | Kind::Seq(_) | Kind::Map(_) => {
                self.expected(node, what, "a duration such as `30s` or `20m`", None);
                return None;
            }
        };
        let message = format!("`{what}` isn't a duration: {}", node.describe());
        self.push(
            Draft::error(code::DAG_DURATION, message).at(node.span, "this value").help(error.to_string()),
        );
        None
    }

    /// A duration that is longer than nothing.
    pub(super) fn some_span(&mut self, node: &Node, what: &str) -> Option<Span> {
        let span = self.span(node, what)?;
        if span > Span::ZERO {
            return Some(span);
        }
        self.refused(node, what, "must be longer than 0; remove the line if there is to be no limit");
        None
    }

    pub(super) fn amount(
        &mut self,
        node: &Node,
        what: &str,
        read: fn(&str) -> Result<u64, amount::InvalidAmount>,
    ) -> Option<u64> {
        let text = match &node.kind {
            Kind::Str(text) => text.clone(),
            Kind::Int(number) => number.to_string(),
            Kind::Float(number) => number.to_string(),
            Kind::Null | Kind::Bool(_) | Kind::Seq(_) | Kind::Map(_) => {
                self.expected(node, what, "an amount", None);
                return None;
            }
        };
        match read(&text) {
            Ok(amount) => Some(amount),
            Err(error) => {
                let message = format!("`{what}` can't be read: {}", node.describe());
                self.push(
                    Draft::error(code::DAG_SIZE, message).at(node.span, "this value").help(error.to_string()),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node, what: &str, all: &[(&str, T)]) -> Option<T> {
        let words = || all.iter().map(|(word, _)| *word);
        let Some(text) = node.as_str() else {
            self.expected(node, what, &suggest::list(words(), "or"), None);
            return None;
        };
        if let Some((_, choice)) = all.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let meant = self.reporter.did_you_mean(text, words());
        let help = meant.unwrap_or_else(|| format!("write {}", suggest::list(words(), "or")));
        let message = format!("`{what}` can't be `{text}`");
        self.push(Draft::error(code::DAG_VALUE, message).at(node.span, "not one of the choices").help(help));
        None
    }

    /// A name that follows the grammar of its kind.
    pub(super) fn name<T: std::str::FromStr<Err = InvalidName>>(
        &mut self,
        node: &Node,
        what: &str,
    ) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let message = format!("`{what}`: the name {error}");
                self.push(
                    Draft::error(code::DAG_NAME, message).at(node.span, "this name").help(allowed(text)),
                );
                None
            }
        }
    }

    /// One text or a list of texts, with their places.
    pub(super) fn texts<'n>(&mut self, node: &'n Node, what: &str, of: &str) -> Vec<(&'n str, &'n Node)> {
        match &node.kind {
            Kind::Str(text) => vec![(text, node)],
            Kind::Seq(nodes) => {
                nodes.iter().filter_map(|node| self.text(node, what).map(|text| (text, node))).collect()
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Map(_) => {
                self.expected(node, what, of, None);
                Vec::new()
            }
        }
    }
}

/// The name with what isn't allowed taken out.
pub(super) fn allowed(name: &str) -> Option<String> {
    let kept: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() || "_-.".contains(c) { c } else { '_' })
        .take(60)
        .collect();
    let some = kept.chars().any(char::is_alphanumeric);
    some.then(|| format!("write for example `{kept}`"))
}
