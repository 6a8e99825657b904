//! The HTTP API of the service: Airflow's REST API v2 on a Unix socket, and a client of it.
//!
//! Start at [`serve`] for how a service listens, at [`v2`] for the routes, at [`client`] for the other end. What changes the
//! engine goes through the inbox (`request`); everything else reads and writes tables of its own. Every handler passes
//! `access`, the one gate.

mod access;
pub mod client;
mod error;
mod extract;
mod list;
mod objects;
pub mod own;
mod request;
mod serve;
mod socket;
mod state;
pub mod v2;

pub use objects::{LogChunk, LogLine, LogOf, Objects, ObjectsError, Stream};
pub use serve::{ServeError, serve};
pub use socket::{Socket, SocketError};
pub use state::{Api, Parts};
