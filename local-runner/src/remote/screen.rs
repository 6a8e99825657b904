//! What commands write: aligned tables with colours for people, JSON for programs.

use std::io::Write;

use dags::time::Timestamp;
use serde::Serialize;

use super::when;
use crate::{
    Error,
    terminal::{Tone, paint},
};

/// The longest cell; what is longer is cut, the details have all of it.
const CELL_CHARS_MAX: usize = 60;

/// Where a command writes to.
pub(super) struct Screen<'a> {
    pub(super) out: &'a mut (dyn Write + Send),
    pub(super) colour: bool,
    pub(super) json: bool,
    pub(super) now: Timestamp,
}

/// A cell of a table: what it says, and in which colour.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), tone: None }
    }
}

/// A cell in that colour.
pub(super) fn toned(text: impl ToString, tone: Tone) -> Cell {
    Cell { text: text.to_string(), tone: Some(tone) }
}

/// What is said where there is nothing.
pub(super) fn or_dash(text: Option<impl ToString>) -> Cell {
    text.map_or_else(|| toned("-", Tone::Dim), Cell::from)
}

impl Screen<'_> {
    /// One line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Error> {
        self.text(&format!("{text}\n"))
    }

    /// Some text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Error> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(Error::path("write to", "the standard output"))
    }

    /// A document for programs.
    pub(super) fn document(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).expect("invariant: answers have text keys");
        self.line(&text)
    }

    /// The same rows as JSON or as a table. `hidden` rows are left out and mentioned.
    pub(super) fn list<T: Serialize, const N: usize>(
        &mut self,
        rows: &[T],
        total: u64,
        heads: [&str; N],
        cells: impl Fn(&T, &Self) -> [Cell; N],
    ) -> Result<(), Error> {
        if self.json {
            return self.document(&rows);
        }
        if rows.is_empty() {
            return self.line("none");
        }
        let lines: Vec<[Cell; N]> = rows.iter().map(|row| cells(row, self)).collect();
        let table = table(heads, &lines, self.colour);
        self.text(&table)?;
        let hidden = total.saturating_sub(rows.len() as u64);
        if hidden > 0 {
            self.line(&paint(&format!("{hidden} more: raise the number with -n"), Tone::Dim, self.colour))?;
        }
        Ok(())
    }

    /// Something that isn't an answer but should be known, for people only.
    pub(super) fn note(&mut self, text: &str) -> Result<(), Error> {
        if self.json { Ok(()) } else { self.line(&paint(text, Tone::Dim, self.colour)) }
    }

    /// Names with values below each other.
    pub(super) fn facts(&mut self, facts: &[(&str, Cell)]) -> Result<(), Error> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let mut text = String::new();
        for (name, cell) in facts.iter().filter(|(_, cell)| !cell.text.is_empty()) {
            let name = paint(&format!("{name:width$}"), Tone::Dim, self.colour);
            let value =
                shown(cell, &cell.text, self.colour).replace('\n', &format!("\n{}", " ".repeat(width + 2)));
            text.push_str(&format!("{name}  {value}\n"));
        }
        self.text(&text)
    }

    /// An instant with its distance from now.
    pub(super) fn time(&self, at: Option<Timestamp>) -> Cell {
        at.map_or_else(|| toned("-", Tone::Dim), |at| when::shown(at, self.now).into())
    }

    /// How long something took; until now if it hasn't ended.
    pub(super) fn span(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Cell {
        match from {
            None => toned("-", Tone::Dim),
            Some(from) => crate::terminal::duration(to.unwrap_or(self.now).since(from).to_std()).into(),
        }
    }
}

fn shown(cell: &Cell, text: &str, colour: bool) -> String {
    cell.tone.map_or_else(|| text.to_owned(), |tone| paint(text, tone, colour))
}

fn table<const N: usize>(heads: [&str; N], lines: &[[Cell; N]], colour: bool) -> String {
    let cut = |cell: &Cell| -> String {
        let line = cell.text.lines().next().unwrap_or_default();
        if line.chars().count() <= CELL_CHARS_MAX {
            return line.to_owned();
        }
        line.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
    };
    let mut widths = heads.map(|head| head.chars().count());
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cut(cell).chars().count());
        }
    }
    let heads = heads.map(|head| toned(head, Tone::Strong));
    let mut text = String::new();
    for line in std::iter::once(&heads).chain(lines) {
        for (n, (cell, width)) in line.iter().zip(widths).enumerate() {
            let content = cut(cell);
            let padding = width - content.chars().count();
            text.push_str(&shown(cell, &content, colour));
            // Nothing follows the last column, so nothing fills it up.
            if n + 1 < N {
                text.push_str(&" ".repeat(padding + 2));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_long_cells_cut() {
        let lines = [
            [Cell::from("a"), toned("failed", Tone::Bad), Cell::from("x".repeat(70))],
            [Cell::from("größer"), toned("ok", Tone::Good), Cell::from("first\nsecond")],
        ];
        let long = format!("{}…", "x".repeat(59));
        let plain = table(["NAME", "STATE", "NOTE"], &lines, false);
        let expected = format!("NAME    STATE   NOTE\na       failed  {long}\ngrößer  ok      first\n");
        assert_eq!(plain, expected);
        let coloured = table(["NAME", "STATE", "NOTE"], &lines, true);
        assert!(coloured.contains("\u{1b}[31mfailed\u{1b}[0m  x"), "{coloured}");
        assert!(coloured.contains("\u{1b}[32mok\u{1b}[0m      first"), "{coloured}");
    }
}
