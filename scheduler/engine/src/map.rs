//! Hash maps with a fixed hasher: the same order and the same cost in every process.
//!
//! Keys are ids that are hashes themselves, so the hasher only folds their bytes.

use std::hash::{BuildHasherDefault, Hasher};

use indexmap::IndexMap;

/// Folds the bytes of a key that is uniformly distributed already. Not for keys that a stranger chooses.
#[derive(Debug, Default, Clone, Copy)]
pub struct FoldHasher(u64);

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }
}

/// A map from derived ids. Its order is that of insertion, disturbed by removals in a reproducible way.
pub type FixedMap<K, V> = IndexMap<K, V, BuildHasherDefault<FoldHasher>>;
