//! Collects diagnostics about one file.

use super::{Diagnostic, Lines, Severity, Source};
use crate::{suggest, tree::ByteRange};

/// More diagnostics than this about one file help nobody; the rest is counted.
const DIAGNOSTICS_MAX: usize = 200;
/// Looking for similar words costs time, so only the first diagnostics do it.
const SUGGESTIONS_MAX: usize = 50;

/// A diagnostic before its places are turned into lines and columns.
#[must_use = "a draft is nothing until it is pushed"]
pub(crate) struct Draft {
    code: &'static str,
    severity: Severity,
    message: String,
    labels: Vec<(ByteRange, String)>,
    help: Option<String>,
}

impl Draft {
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None }
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A place and what is there; the first is the main one.
    pub(crate) fn at(mut self, span: ByteRange, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        if let Some(help) = help.into() {
            self.help = Some(help);
        }
        self
    }
}

/// Collects diagnostics about one file.
pub(crate) struct Reporter<'s> {
    source: &'s Source,
    lines: Lines<'s>,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    dropped: usize,
}

impl<'s> Reporter<'s> {
    pub(crate) fn new(source: &'s Source) -> Self {
        Self { source, lines: Lines::new(&source.text), diagnostics: Vec::new(), errors: 0, dropped: 0 }
    }

    pub(crate) fn source(&self) -> &'s Source {
        self.source
    }

    /// How many errors there are, so that a caller sees whether its part added one.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    pub(crate) fn push(&mut self, draft: Draft) {
        self.errors += usize::from(draft.severity == Severity::Error);
        if self.diagnostics.len() >= DIAGNOSTICS_MAX {
            self.dropped += 1;
            return;
        }
        let labels = draft.labels.into_iter().map(|(span, text)| self.lines.label(span, text)).collect();
        self.diagnostics.push(Diagnostic {
            code: draft.code,
            severity: draft.severity,
            message: draft.message,
            file: self.source.path.clone(),
            labels,
            help: draft.help,
        });
    }

    /// "did you mean `x`?", unless there are so many diagnostics already that looking would take too long.
    pub(crate) fn did_you_mean<'c>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<String> {
        if self.diagnostics.len() < SUGGESTIONS_MAX { suggest::did_you_mean(word, candidates) } else { None }
    }

    /// The diagnostics in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics
            .sort_by_key(|diagnostic| diagnostic.labels.first().map_or(0, |label| label.span.start));
        if self.dropped > 0 {
            self.diagnostics.push(Diagnostic {
                code: super::code::DAG_LIMIT,
                severity: Severity::Error,
                message: format!("{} more problems aren't shown", self.dropped),
                file: self.source.path.clone(),
                labels: Vec::new(),
                help: Some("correct the first ones and look again".to_owned()),
            });
        }
        self.diagnostics
    }
}
