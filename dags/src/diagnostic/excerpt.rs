//! What is drawn of a text: the lines around its labels, and of a very long line only what is around them.
//!
//! A file of one line is legal, and hundreds of kilobytes of it help nobody. So such a line is shortened before it is
//! drawn; lines and columns stay those of the file.

use std::collections::{BTreeMap, BTreeSet};

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::{Label, Source};
use crate::tree::ByteRange;

/// The longest line, in bytes, that is drawn as it is.
const LINE_MAX: usize = 240;
/// How much of a longer one is drawn before and behind a label.
const AROUND: usize = 60;
/// How much of a label is underlined there.
const LABEL_MAX: usize = 80;
/// What stands for what was left out.
const CUT: char = '…';

/// A text with shortened lines, and where its labels are in it.
#[derive(Debug)]
pub(super) struct Excerpt {
    path: String,
    text: String,
    /// Where the lines start.
    starts: Vec<usize>,
    /// The labels' places in this text, in their order.
    pub(super) spans: Vec<ByteRange>,
    /// The column of the file, from 0, by the place of a label.
    columns: BTreeMap<usize, usize>,
}

impl Excerpt {
    pub(super) fn new(source: &Source, labels: &[Label]) -> Self {
        let text = &source.text;
        let mut wanted: BTreeSet<usize> = BTreeSet::new();
        for label in labels {
            wanted.extend(label.line.saturating_sub(2)..=label.line);
        }
        let mut spans: Vec<ByteRange> = labels.iter().map(|label| label.span).collect();
        let mut short = String::with_capacity(text.len().min(1 << 16));
        let mut starts = vec![0];
        let mut at = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let content = line.strip_suffix('\n').unwrap_or(line);
            let here = |span: &ByteRange| span.start >= at && span.start <= at + content.len();
            let on_it: Vec<usize> = (0..labels.len()).filter(|n| here(&labels[*n].span)).collect();
            if content.len() > LINE_MAX && wanted.contains(&number) {
                shorten(content, at, &on_it, labels, &mut short, &mut spans);
                short.push_str(&line[content.len()..]);
            } else {
                for label in on_it {
                    let Label { span, .. } = &labels[label];
                    spans[label] = ByteRange::new(span.start - at + short.len(), span.end - at + short.len());
                }
                short.push_str(line);
            }
            at += line.len();
            if line.ends_with('\n') {
                starts.push(short.len());
            }
        }
        // What is drawn must stand on something: the end of the text is shown at its last character.
        for span in spans.iter_mut().filter(|span| span.start == short.len() && !short.ends_with('\n')) {
            *span = ByteRange::new(short.floor_char_boundary(short.len().saturating_sub(1)), short.len());
        }
        let columns = spans.iter().zip(labels).map(|(span, label)| (span.start, label.column - 1)).collect();
        Self { path: source.path.clone(), text: short, starts, spans, columns }
    }

    fn line_of(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte) - 1
    }
}

/// Adds what is drawn of a long line, and notes where its labels have gone.
fn shorten(
    line: &str,
    at: usize,
    on_it: &[usize],
    labels: &[Label],
    short: &mut String,
    spans: &mut [ByteRange],
) {
    let place = |label: usize| {
        let start = labels[label].span.start - at;
        let end = (labels[label].span.end - at).min(start + LABEL_MAX);
        (start, line.floor_char_boundary(end.max(start)))
    };
    let mut windows: Vec<(usize, usize)> = on_it
        .iter()
        .map(|label| {
            let (start, end) = place(*label);
            (line.floor_char_boundary(start.saturating_sub(AROUND)), line.ceil_char_boundary(end + AROUND))
        })
        .collect();
    if windows.is_empty() {
        windows.push((0, line.ceil_char_boundary(AROUND)));
    }
    windows.sort_unstable();
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (start, end) in windows {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    let mut told = 0;
    for (start, end) in joined {
        if start > told {
            short.push(CUT);
        }
        for label in on_it {
            let (from, to) = place(*label);
            if from >= start && to <= end {
                spans[*label] = ByteRange::new(short.len() + from - start, short.len() + to - start);
            }
        }
        short.push_str(&line[start..end]);
        told = end;
    }
    if told < line.len() {
        short.push(CUT);
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        if end > self.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let last = self.line_of(end.saturating_sub(1).max(start));
        // Without context what is asked for is the place itself.
        let (from, to, line, column) = if before == 0 {
            let line = self.line_of(start);
            let column = self.text[self.starts[line]..start].chars().count();
            (start, end, line, self.columns.get(&start).copied().unwrap_or(column))
        } else {
            let first = self.line_of(start).saturating_sub(before);
            let to = self.starts.get(last + after + 1).copied().unwrap_or(self.text.len());
            (self.starts[first], to, first, 0)
        };
        let data = &self.text.as_bytes()[from..to];
        let lines = self.text[from..to].matches('\n').count();
        let place = SourceSpan::from((from, to - from));
        let contents = MietteSpanContents::new_named(self.path.clone(), data, place, line, column, lines);
        Ok(Box::new(contents))
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::{Diagnostic, Lines, Severity, Source, render};
    use crate::tree::ByteRange;

    fn drawn(text: &str, labels: &[(usize, usize)]) -> String {
        let source = Source::new("a.yaml", text);
        let lines = Lines::new(&source.text);
        let label = |(n, (start, end)): (usize, &(usize, usize))| {
            lines.label(ByteRange::new(*start, *end), format!("label {n}"))
        };
        let diagnostic = Diagnostic {
            code: "dag.value",
            severity: Severity::Error,
            message: "it is wrong".to_owned(),
            file: "a.yaml".to_owned(),
            labels: labels.iter().enumerate().map(label).collect(),
            help: None,
        };
        render(&diagnostic, &source, false)
    }

    #[test]
    fn of_a_long_line_only_what_is_around_a_label_is_drawn() {
        let long = format!(
            "first: 1\n{{a: \"{}\", é: wrong, b: \"{}\", c: twice}}\n{}\n",
            "x".repeat(100_000),
            "y".repeat(300_000),
            "z".repeat(900)
        );
        let at = long.find("wrong").unwrap();
        let again = long.find("twice").unwrap();
        insta::assert_snapshot!(drawn(&long, &[(at, at + 5), (again, again + 5)]));
        // A label as long as the line.
        insta::assert_snapshot!(drawn(&long, &[(9, long.find("}\n").unwrap() + 1)]));
    }

    #[test]
    fn labels_far_from_each_other_are_drawn_apart() {
        let text: String = (0..500).map(|n| format!("line_{n}: 1")).collect::<Vec<_>>().join("\n");
        let (one, other) = (text.find("line_100").unwrap(), text.find("line_400").unwrap());
        let drawn = drawn(&text, &[(other, other + 8), (one, one + 8)]);
        assert!(drawn.lines().count() < 20, "{drawn}");
        assert!(drawn.contains("a.yaml:101:1") && drawn.contains("a.yaml:401:1"), "{drawn}");
    }

    #[test]
    fn odd_places_are_drawn_too() {
        for (text, label) in [("a", (1, 1)), ("a\r\nb", (3, 4)), ("a\nb", (0, 3)), ("a\n\nb", (2, 2))] {
            assert!(drawn(text, &[label]).contains("label 0"), "{text:?}");
        }
        // Where there is no line nothing can be underlined.
        for (text, label) in [("", (0, 0)), ("a\n", (2, 2))] {
            assert!(drawn(text, &[label]).contains("it is wrong"), "{text:?}");
        }
        let wide = "é".repeat(400);
        assert!(drawn(&wide, &[(301, 799)]).contains('…'));
    }
}
