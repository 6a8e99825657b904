//! The files of the web console, as `npm run build` left them in `dist`, compiled in.
//!
//! Without Node there is nothing in `dist`, and [`FILES`] is empty: everything else is built all the same, and the service says
//! that it has no console.

/// A file.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Its path in `dist`.
    pub path: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
    /// The same, compressed with brotli; none if that is no smaller.
    pub brotli: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/files.rs"));
