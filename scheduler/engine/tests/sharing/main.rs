//! The resource pool: the vectors of its specification, and the plain form of its rules that it is compared with.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fast;
mod looks;
mod plain;
mod queues;
mod random;
mod scenario;

use std::path::Path;

use fast::Fast;
use plain::Plain;
use scenario::{Pool, Run, Scenario};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Vector {
    scenario: Scenario,
    expect: Value,
}

fn vectors() -> Vec<Vector> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/resource-sharing.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let vectors: Vec<Vector> = serde_json::from_str(&text).unwrap();
    assert!(vectors.len() >= 83);
    vectors
}

fn as_the_vectors_say<P: Pool>() {
    let mut wrong = Vec::new();
    for Vector { scenario, expect } in vectors() {
        let got = Run::<P>::new(&scenario).finish(scenario.until);
        for key in ["trace", "usage", "waiting"] {
            if got[key] == expect[key] {
                continue;
            }
            let mut says = format!("{}: {key} differs", scenario.name);
            if let (Some(got), Some(expected)) = (got[key].as_array(), expect[key].as_array()) {
                let at = got.iter().zip(expected).take_while(|(got, expected)| got == expected).count();
                says += &format!(" at {at}:\n   got {:?}\n  want {:?}", got.get(at), expected.get(at));
            } else {
                says += &format!(":\n   got {}\n  want {}", got[key], expect[key]);
            }
            wrong.push(says);
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_plain_rules_pass_every_vector() {
    as_the_vectors_say::<Plain>();
}

#[test]
fn the_pool_passes_every_vector() {
    as_the_vectors_say::<Fast>();
}
