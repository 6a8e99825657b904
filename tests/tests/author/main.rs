//! The authors' commands, run as their users run them: the real binary, real processes, real files.

mod commands;
mod examples;
mod program;
mod test_run;
