//! What commands write where, and the exit codes: 0 for success, 1 for a failed run or a file with errors, 2 for a wrong
//! command line, 128 + n for signal n.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use local_runner::{
    Error,
    terminal::{Tone, paint},
};

/// A failed run, or a file with errors.
pub(crate) const FAILED: u8 = 1;
/// A wrong command line.
pub(crate) const USAGE: u8 = 2;

/// The terminal, or what stands in for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    /// Whether standard output takes colours.
    pub(crate) colour: bool,
    /// Whether standard error does.
    pub(crate) error_colour: bool,
}

impl Console {
    #[expect(clippy::disallowed_methods, reason = "settings are read in main")]
    pub(crate) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: !plain && io::stdout().is_terminal(),
            error_colour: !plain && io::stderr().is_terminal(),
        }
    }

    /// `error: ...` and `help: ...`.
    pub(crate) fn complain(self, message: &str, help: Option<&str>) {
        say(&format!("{} {message}\n", paint("error:", Tone::Bad, self.error_colour)));
        if let Some(help) = help {
            say(&format!("{} {help}\n", paint("help:", Tone::Good, self.error_colour)));
        }
    }

    /// The exit code of a command of the authors' loop.
    pub(crate) fn code(self, outcome: Result<ExitCode, Error>) -> ExitCode {
        outcome.unwrap_or_else(|error| {
            let code = if error.is_usage() { USAGE } else { FAILED };
            let help = error.help().map(str::to_owned);
            self.complain(&format!("{:#}", anyhow::Error::from(error)), help.as_deref());
            ExitCode::from(code)
        })
    }

    /// The exit code of a service.
    pub(crate) fn finish(self, outcome: anyhow::Result<()>) -> ExitCode {
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                self.complain(&format!("{error:#}"), None);
                ExitCode::from(FAILED)
            }
        }
    }
}

/// Writes to standard output. Whoever stops reading has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::path("write to", "the standard output")),
    }
}

/// Writes to standard error.
pub(crate) fn say(text: &str) {
    // If standard error is closed there is nobody to tell.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
