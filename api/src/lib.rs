//! The HTTP API of the service: Airflow's REST API v2 and our own beside it, on a Unix socket and a TCP port, and a client
//! of both.
//!
//! Start at [`serve`] for how a service listens, at [`v2`] for the routes, at [`client`] for the other end. What changes the
//! engine goes through the inbox (`request`); everything else reads and writes tables of its own. Every handler passes
//! `access`, the one gate.

mod access;
pub mod auth;
mod bundles;
pub mod client;
mod console;
mod describe;
mod error;
pub mod execution;
mod extract;
mod link;
mod list;
mod measure;
pub mod monitoring;
mod objects;
mod openapi;
mod peer;
pub mod policy;
mod rates;
mod request;
mod router;
mod routes;
mod serve;
mod setup;
mod sign_in;
mod socket;
mod state;
mod tcp;
mod token;
mod trace;
pub mod v1;
pub mod v2;

pub use bundles::{Archive, Bundles};
pub use console::Asset;
pub use objects::{LogChunk, LogLine, LogOf, Objects, ObjectsError, Stream};
pub use rates::RateSettings;
pub use router::routes;
pub use routes::Declared;
pub use serve::{ServeError, serve};
pub use setup::{FirstAdmin, first_admin};
pub use socket::{Socket, SocketError};
pub use state::{Api, Parts};
pub use tcp::{Tcp, TcpError, TcpSettings, TlsFiles, serve_tcp};
