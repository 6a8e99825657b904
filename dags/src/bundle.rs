//! A bundle: what a folder of DAGs is called by its content, and what it holds for who is to run it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use crate::{
    ids::{BundleId, DagId, DagVersion, ExecutorName},
    model::Dag,
};

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

/// How large a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The bytes of all files together.
    pub bytes: u64,
    /// How many files it has.
    pub files: u32,
}

/// What a bundle holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// How large it is.
    pub size: Size,
    /// Its DAGs, by name.
    pub dags: BTreeMap<DagId, Compiled>,
    /// What is wrong with its files: the path, and everything with the lines.
    pub broken: BTreeMap<String, String>,
    /// The executor of tasks that name none.
    pub default_executor: ExecutorName,
}

/// A DAG of a bundle.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The model.
    pub model: Arc<Dag>,
    /// Its hash.
    pub version: DagVersion,
    /// The path of its file.
    pub source: String,
    /// The connections that its tasks name.
    pub connections: BTreeSet<String>,
    /// The variables that its tasks name.
    pub variables: BTreeSet<String>,
}

/// Why a bundle can't be taken in or looked into. The message is for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It isn't what it should be.
    #[error("{0}")]
    Refused(String),
    /// It isn't there.
    #[error("the bundle isn't stored here any more: send it again")]
    Missing,
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}
