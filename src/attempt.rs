//! The small program that an attempt begins as when its task's operator is a program: see [`executor::attempt`].

use std::process::ExitCode;

use executor::attempt;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "--identity") {
        // Who asks and doesn't read the answer doesn't use this program.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), attempt::IDENTITY.as_bytes());
        return ExitCode::SUCCESS;
    }
    attempt::run_program()
}
