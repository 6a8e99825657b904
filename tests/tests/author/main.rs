//! The authors' commands, run as their users run them: the real binary, real processes, real files.

#[cfg(test)]
mod commands;
#[cfg(test)]
mod dag_tests;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod program;
#[cfg(test)]
mod projects;
#[cfg(test)]
mod simulations;
#[cfg(test)]
mod test_run;
