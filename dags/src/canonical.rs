//! The canonical form of a DAG and its hash, the version.
//!
//! The form is the model's JSON: complete with defaults, keys sorted, no blanks. Two files that mean the same have the
//! same form, so the same version. A version is made by the format that the DAG was first stored in and never
//! recomputed.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{ids::DagVersion, model::Dag};

/// The canonical form: JSON, keys sorted by their bytes, without blanks.
pub fn bytes(dag: &Dag) -> Vec<u8> {
    let value =
        serde_json::to_value(dag).expect("invariant: the model has text keys and finite numbers only");
    let mut out = Vec::with_capacity(4096);
    write(&value, &mut out);
    out
}

/// The version of a DAG: `v1:` and the SHA-256 of the canonical form, which holds the hashes of the files and plugins
/// that the DAG uses.
pub fn version(dag: &Dag) -> DagVersion {
    let digest = hex::encode(Sha256::digest(bytes(dag)));
    DagVersion(format!("v{}:{digest}", dag.format).into())
}

/// Sorts by itself: whether serde_json's maps are sorted depends on the features that other crates turn on.
// The recursion is bounded by the depth of the trees that DAGs are made from.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (n, (key, value)) in entries.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                scalar(&Value::String(key.clone()), out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            out.push(b'[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => scalar(value, out),
    }
}

fn scalar(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("invariant: a scalar can be written to memory");
}
