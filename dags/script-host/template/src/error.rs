//! What went wrong in a template, in words that help its author.

use std::fmt;

/// A template or expression that can't be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, lower case.
    pub message: String,
    /// The line in the template's text, from 1.
    pub line: Option<usize>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Separates message and hint inside of an engine error's detail, which carries one text only.
pub(crate) const HINT: char = '\u{1f}';

/// An engine error whose detail carries a hint.
pub(crate) fn refused(message: impl fmt::Display, hint: impl fmt::Display) -> minijinja::Error {
    minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("{message}{HINT}{hint}"))
}

impl From<minijinja::Error> for Error {
    fn from(error: minijinja::Error) -> Self {
        use minijinja::ErrorKind as Kind;
        let line = error.line();
        let detail = error.detail().unwrap_or_default();
        let (detail, hint) = match detail.split_once(HINT) {
            Some((detail, hint)) => (detail, Some(hint.to_owned())),
            None => (detail, None),
        };
        let (message, default_hint) = match error.kind() {
            Kind::OutOfFuel => ("the template takes too many steps (limit: instructions)".to_owned(), None),
            Kind::UndefinedError if detail.is_empty() => (
                "the expression names a value that doesn't exist".to_owned(),
                Some("give it a value, or write `| default(...)`"),
            ),
            Kind::UndefinedError => (detail.to_owned(), Some("give it a value, or write `| default(...)`")),
            Kind::InvalidOperation if !detail.is_empty() => (detail.to_owned(), None),
            Kind::UnknownFilter | Kind::UnknownFunction | Kind::UnknownTest | Kind::UnknownMethod => {
                (format!("{}: {detail}", error.kind()), None)
            }
            kind if detail.is_empty() => (kind.to_string(), None),
            kind => (format!("{kind}: {detail}"), None),
        };
        Self { message, line, hint: hint.or_else(|| default_hint.map(ToOwned::to_owned)) }
    }
}
