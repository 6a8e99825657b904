//! From bytes to lines and columns.

use super::Label;
use crate::tree::ByteRange;

/// Where the lines of a text start.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Finds the lines of a text.
    pub fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line and column (in characters) of a byte, both from 1. A byte beyond the text counts as its end, one inside a
    /// character as the character's start.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte);
        let line = self.starts.partition_point(|start| *start <= byte);
        (line, self.text[self.starts[line - 1]..byte].chars().count() + 1)
    }

    /// A label for those bytes, cut to the text and to the end of the first line.
    pub fn label(&self, span: ByteRange, text: String) -> Label {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end.max(start));
        let end = self.text[start..end].find('\n').map_or(end, |at| start + at);
        let (line, column) = self.position(start);
        Label { span: ByteRange::new(start, end), line, column, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_bad_spans_are_cut() {
        let lines = Lines::new("a: é\nbc: d\n");
        assert_eq!(lines.position(3), (1, 4));
        assert_eq!(lines.position(6), (2, 1));
        assert_eq!(lines.position(999), (3, 1));
        let label = lines.label(ByteRange::new(6, 400), String::new());
        assert_eq!((label.line, label.span), (2, ByteRange::new(6, 11)));
        let inside = lines.label(ByteRange::new(4, 2), String::new());
        assert_eq!(inside.span, ByteRange::new(3, 3));
    }
}
