//! The terminal of a session: its keys, and what it shows.

use std::io::{self, IsTerminal as _, Write as _};

use crossterm::{
    cursor,
    event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute, queue,
    style::Print,
    terminal::{
        BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
    },
};
use futures::StreamExt as _;

use crate::Error;

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Run the DAG.
    Run,
    /// Run it without reusing anything.
    Clear,
    /// Choose the next DAG.
    Next,
    /// Show the log, or not.
    Log,
    /// Open the console.
    Open,
    /// Leave.
    Quit,
    /// Draw again.
    Redraw,
}

/// A terminal that is ours until this is dropped.
#[derive(Debug)]
pub struct Terminal {
    events: EventStream,
}

fn failed(error: io::Error) -> Error {
    Error::Machine { doing: "use the terminal", why: error.to_string() }
}

impl Terminal {
    /// Takes the terminal, if there is one at both ends.
    pub fn open() -> Result<Option<Self>, Error> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        enable_raw_mode().map_err(failed)?;
        let terminal = Self { events: EventStream::new() };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide).map_err(failed)?;
        Ok(Some(terminal))
    }

    /// The next key that means something. The end of the terminal is the wish to leave.
    pub async fn key(&mut self) -> Key {
        loop {
            match self.events.next().await {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    if let Some(key) = meaning(&key) {
                        return key;
                    }
                }
                Some(Ok(Event::Resize(..))) => return Key::Redraw,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Key::Quit,
            }
        }
    }

    /// Its columns and rows.
    pub fn size(&self) -> (usize, usize) {
        let (columns, rows) = size().unwrap_or((80, 24));
        (columns.into(), rows.into())
    }

    /// Shows these lines.
    pub fn draw(&self, lines: &[String]) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        let draw = |out: &mut io::StdoutLock<'_>| {
            queue!(out, BeginSynchronizedUpdate)?;
            for (row, line) in (0_u16..).zip(lines) {
                queue!(out, cursor::MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
            }
            queue!(out, EndSynchronizedUpdate)?;
            out.flush()
        };
        draw(&mut out).map_err(failed)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing is left to be done with a terminal that can't be given back.
        let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

fn meaning(key: &KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if control => Some(Key::Quit),
        KeyCode::Char('l') if control => Some(Key::Redraw),
        KeyCode::Char('r') => Some(Key::Run),
        KeyCode::Char('c') => Some(Key::Clear),
        KeyCode::Char('n') | KeyCode::Tab => Some(Key::Next),
        KeyCode::Char('l') => Some(Key::Log),
        KeyCode::Char('o') => Some(Key::Open),
        KeyCode::Char('q') => Some(Key::Quit),
        _ => None,
    }
}
