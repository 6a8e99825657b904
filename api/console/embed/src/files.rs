//! The files, as the build script listed them.

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
