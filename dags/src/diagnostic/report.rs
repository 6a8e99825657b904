//! A diagnostic together with its source, as `miette` wants it.

use std::fmt;

use miette::{LabeledSpan, SourceCode};

use super::{Diagnostic, Severity, Source, excerpt::Excerpt};

/// A diagnostic with the text it speaks about; printing tools draw it with the source line underlined.
#[derive(Debug)]
pub struct Report {
    diagnostic: Diagnostic,
    source: Excerpt,
}

impl Report {
    /// Joins a diagnostic with its source.
    pub fn new(diagnostic: Diagnostic, source: &Source) -> Self {
        Self { source: Excerpt::new(source, &diagnostic.labels), diagnostic }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        if self.diagnostic.labels.is_empty() { None } else { Some(&self.source) }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let places = self.diagnostic.labels.iter().zip(&self.source.spans);
        let spans = places.enumerate().map(|(n, (label, span))| {
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            let length = span.end - span.start;
            if n == 0 {
                LabeledSpan::new_primary_with_span(text, (span.start, length))
            } else {
                LabeledSpan::new(text, span.start, length)
            }
        });
        Some(Box::new(spans))
    }
}

/// Draws a diagnostic for people: message, file, line, column, the source line underlined, help.
#[cfg(feature = "render")]
pub fn render(diagnostic: &Diagnostic, source: &Source, colour: bool) -> String {
    use miette::{GraphicalReportHandler, GraphicalTheme};
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(100).with_context_lines(1).without_cause_chain();
    let mut out = String::new();
    handler
        .render_report(&mut out, &Report::new(diagnostic.clone(), source))
        .expect("invariant: writing to a String doesn't fail");
    out
}
