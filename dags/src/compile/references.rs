//! What templates and expressions use: known names, declared parameters, mapped variables, results of upstream tasks.

use super::Context;
use crate::{
    diagnostic::{Draft, code},
    suggest,
    template::{self, Reference, Word},
    tree::{ByteRange, Kind, Node},
};

/// A reference that can only be checked when all tasks are known.
pub(super) struct Found {
    pub(super) reference: Reference,
    pub(super) at: ByteRange,
}

impl Context<'_, '_> {
    /// Looks at every text beneath a node; yields whether any holds something to render.
    /// `early` fields are rendered by the service itself, where no connection may be named.
    // The recursion is bounded by the depth of the tree.
    pub(super) fn expressions(
        &mut self,
        node: &Node,
        what: &str,
        early: bool,
        found: &mut Vec<Found>,
    ) -> bool {
        let mut any = false;
        match &node.kind {
            Kind::Str(text) if template::has_expression(text) => {
                self.template(text, node, what, early, found);
                any = true;
            }
            // No short cut: every text is to be looked at.
            Kind::Seq(nodes) => {
                for node in nodes {
                    any |= self.expressions(node, what, early, found);
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    any |= self.expressions(&entry.value, what, early, found);
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str(_) => {}
        }
        any
    }

    fn template(&mut self, text: &str, node: &Node, what: &str, early: bool, found: &mut Vec<Found>) {
        let scanned = template::scan(text);
        let mut places = Places::new(self.reporter.source().text.as_str(), node.span);
        for problem in scanned.problems {
            let at = places.find(text.get(problem.at).unwrap_or_default());
            self.push(
                Draft::error(code::TEMPLATE_SYNTAX, format!("template in `{what}`: {}", problem.message))
                    .at(at, "here")
                    .help(problem.help),
            );
        }
        for word in scanned.words {
            self.check_word(&word, Places::new(self.reporter.source().text.as_str(), node.span));
        }
        for reference in scanned.references {
            let at = places.find(text.get(reference.at.clone()).unwrap_or_default());
            if early && reference.root == "conn" {
                self.push(
                    Draft::error(code::TEMPLATE_NAME, format!("`{what}` can't use connections"))
                        .at(at, "a connection")
                        .help("it is decided by the service, and secrets exist on workers only".to_owned()),
                );
            } else if template::NAMES.contains(&reference.root.as_str()) {
                found.push(Found { reference, at });
            } else if !reference.guarded && !template::FUNCTIONS.contains(&reference.root.as_str()) {
                self.unknown_name(&reference.root, at);
            }
        }
    }

    fn check_word(&mut self, word: &Word, mut places: Places<'_>) {
        let (what, known) =
            if word.is_test { ("test", template::TESTS) } else { ("filter", template::FILTERS) };
        if known.contains(&word.name.as_str()) {
            return;
        }
        let at = places.find(&word.name);
        let message = format!("templates have no {what} `{}`", word.name);
        let help = self.reporter.did_you_mean(&word.name, known.iter().copied());
        let help =
            help.unwrap_or_else(|| format!("there are {}", suggest::list(known.iter().copied(), "and")));
        self.push(Draft::error(code::TEMPLATE_NAME, message).at(at, format!("unknown {what}")).help(help));
    }

    fn unknown_name(&mut self, name: &str, at: ByteRange) {
        if template::AIRFLOW_ONLY.contains(&name) {
            let message = format!("Airflow's `{name}` doesn't exist in Updraft's templates");
            self.push(Draft::error(code::TEMPLATE_NAME, message).at(at, "not here"));
            return;
        }
        let removed = template::REMOVED.iter().find(|(old, _)| *old == name);
        let help = removed
            .map(|(_, new)| format!("write `{new}`"))
            .or_else(|| self.reporter.did_you_mean(name, template::NAMES.iter().copied()))
            .unwrap_or_else(|| {
                let common = ["ds", "ts", "run_id", "params", "outputs", "map", "var", "conn"];
                format!("templates know {} and Airflow's other names", suggest::list(common, "and"))
            });
        let message = format!("templates have no name `{name}`");
        self.push(Draft::error(code::TEMPLATE_NAME, message).at(at, "unknown name").help(help));
    }
}

/// Finds parts of a scalar in the source. Escapes and block indentation make the two differ, so it looks for the text,
/// from the last find on, and points at the whole scalar if it isn't there.
struct Places<'s> {
    source: &'s str,
    whole: ByteRange,
    from: usize,
}

impl<'s> Places<'s> {
    fn new(source: &'s str, whole: ByteRange) -> Self {
        let end = source.floor_char_boundary(whole.end);
        let start = source.floor_char_boundary(whole.start).min(end);
        Self { source: &source[..end], whole, from: start }
    }

    fn find(&mut self, part: &str) -> ByteRange {
        if part.is_empty() {
            return self.whole;
        }
        match self.source[self.from..].find(part) {
            Some(at) => {
                let start = self.from + at;
                self.from = start + part.len();
                ByteRange::new(start, self.from)
            }
            None => self.whole,
        }
    }
}
