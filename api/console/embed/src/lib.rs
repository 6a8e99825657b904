//! The files of the web console, as `npm run build` left them in `dist`, compiled in.
//!
//! Without Node there is nothing in `dist`, and [`FILES`] is empty: everything else is built all the same, and the service says
//! that it has no console.

mod files;

pub use files::{FILES, File};
