//! The main file's text, and how the engine's lines and columns become bytes of it.

use rhai::Position;

/// A file's path and text.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// As it was named in the request.
    pub(crate) path: String,
    text: String,
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path: path.to_owned(), text: text.to_owned(), lines }
    }

    /// The bytes of the word or sign at that place.
    pub(crate) fn span(&self, at: Position) -> Option<(usize, usize)> {
        let line = *self.lines.get(at.line()?.checked_sub(1)?)?;
        let rest = &self.text[line..];
        let column = at.position().unwrap_or(1).saturating_sub(1);
        let start = line + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let tail = &self.text[start..];
        let length = match tail.chars().next() {
            Some(first) if word(first) => tail.find(|c| !word(c)).unwrap_or(tail.len()),
            Some('\n') | None => 0,
            Some(first) => first.len_utf8(),
        };
        Some((start, start + length))
    }

    /// Where the main file imports that module, for whatever is at fault inside of it.
    pub(crate) fn import(&self, file: &str) -> Option<(usize, usize)> {
        let name = file.strip_suffix(".rhai").unwrap_or(file);
        ['"', '`'].iter().find_map(|quote| {
            let quoted = format!("{quote}{name}{quote}");
            self.text.find(&quoted).map(|at| (at, at + quoted.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_become_bytes() {
        let source = Source::new("a.rhai", "let ä = 1;\nd.task(\"x\")");
        assert_eq!(source.span(Position::new(1, 5)), Some((4, 6)));
        assert_eq!(source.span(Position::new(2, 3)), Some((14, 18)));
        assert_eq!(source.span(Position::new(2, 2)), Some((13, 14)));
        assert_eq!(source.span(Position::new(9, 1)), None);
    }
}
