//! The operators as an attempt sees them, with real programs, databases and servers.

#[cfg(test)]
mod attempt;
#[cfg(test)]
mod catalog;
#[cfg(test)]
mod email;
#[cfg(test)]
mod files;
#[cfg(test)]
mod http;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod rhai;
#[cfg(test)]
mod server;
#[cfg(test)]
mod sql;
#[cfg(test)]
mod user;
