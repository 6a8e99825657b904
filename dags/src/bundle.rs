//! The address of a bundle: what a folder of DAGs is called by its content.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::ids::BundleId;

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The path within the folder, with `/`.
    pub path: String,
    /// Whether it may be executed.
    pub executable: bool,
    /// The SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub bytes: u64,
}

/// The address: SHA-256 over every file's path, mode and content hash. The files must be sorted by path.
pub fn address(files: &[File]) -> BundleId {
    let mut hash = Sha256::new();
    for file in files {
        hash.update((file.path.len() as u64).to_be_bytes());
        hash.update(file.path.as_bytes());
        hash.update([u8::from(file.executable)]);
        hash.update(file.sha256);
    }
    let digits = hash.finalize().iter().fold(String::with_capacity(64), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("invariant: writing to a String can't fail");
        digits
    });
    BundleId(digits.into())
}
