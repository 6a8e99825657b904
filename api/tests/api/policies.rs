//! What is said of a tenant to those who test DAGs for it.

use serde_json::{Value, json};

use crate::{
    wire::{ask, sign_in},
    world::World,
};

const PATH: &str = "/api/updraft/v1/policies";

#[tokio::test]
async fn policies_are_what_whoever_asks_may_see() {
    let mut world = World::new().await;
    let at = world.listen().await;
    assert_eq!(world.post("/pools", json!({"name": "gpu", "slots": 4})).await.0, 201);
    assert_eq!(world.post("/variables", json!({"key": "day", "value": "monday-7"})).await.0, 201);
    let connection = json!({"connection_id": "shop", "conn_type": "http", "password": "s3cret-word"});
    assert_eq!(world.post("/connections", connection).await.0, 201);
    for (name, role) in [("vic", "viewer"), ("ann", "author")] {
        world.person(name, Some(role)).await;
    }
    world.person("stranger", None).await;
    let (vic, ann) = (sign_in(at, "vic").await, sign_in(at, "ann").await);

    let of_vic = ask("GET", PATH).bearer(&vic).send(at).await;
    assert_eq!(of_vic.status, 200, "{of_vic:?}");
    assert_eq!((&of_vic.body["user"], &of_vic.body["tenant"]), (&json!("vic"), &json!("default")));
    assert_eq!(of_vic.body["room"]["pools"], json!({"default_pool": 128, "gpu": 4}));
    assert_eq!(of_vic.body["room"]["variables"], Value::Null, "a viewer doesn't see variables");
    assert_eq!(of_vic.body["room"]["connections"], Value::Null);
    assert_eq!(of_vic.body["installation"]["routes"], Value::Null);

    let of_ann = ask("GET", PATH).bearer(&ann).send(at).await;
    assert_eq!(of_ann.body["room"]["variables"], json!(["day"]));
    assert_eq!(of_ann.body["room"]["connections"], json!(["shop"]));
    assert_eq!(of_ann.body["installation"]["executors"]["local"]["slots"], json!(16));
    for secret in ["s3cret-word", "monday-7"] {
        assert!(!of_ann.body.to_string().contains(secret), "names only");
    }

    // About others only those ask who see members; whoever has no role here isn't there.
    let refused = ask("GET", &format!("{PATH}?user=ann")).bearer(&vic).send(at).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let (status, said) = world.get(&format!("{PATH}?user=vic")).await;
    assert_eq!((status, &said["rules"]), (200, &of_vic.body["rules"]));
    let missing =
        [world.get(&format!("{PATH}?user=stranger")).await, world.get(&format!("{PATH}?user=nobody")).await];
    assert!(missing.iter().all(|(status, _)| *status == 404), "{missing:?}");
    assert_eq!(world.patch("/api/updraft/v1/users/vic", json!({"disabled": true})).await.0, 200);
    assert_eq!(world.get(&format!("{PATH}?user=vic")).await.1["rules"], json!([]));
    assert_eq!(world.get(&format!("{PATH}?who=vic")).await.0, 400);
    world.close().await;
}
