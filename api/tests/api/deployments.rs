//! Bundles that are sent, planned and made active: who may do what, and what stands in the way.

use serde_json::{Value, json};

use crate::{
    wire::{Answer, ask, sign_in},
    world::{DAGS, World, address},
};

const ARCHIVE: &str = "application/x-tar";
const ALPHA: &str = "dag: alpha\ntags: [a]\ntasks:\n  one: { bash: \"true\", retries: 1 }\n";

/// A world with another tenant that somebody administers, and a port.
struct Place {
    world: World,
    at: std::net::SocketAddr,
    token: String,
}

impl Place {
    async fn new() -> Self {
        let mut world = World::new().await;
        let at = world.listen().await;
        world.person("ann", None).await;
        let made = world.post("/api/updraft/v1/tenants", json!({"name": "sales"})).await;
        assert_eq!(made.0, 201, "{made:?}");
        assert_eq!(world.put("/api/updraft/v1/tenants/sales/admins/ann").await.0, 204);
        let token = sign_in(at, "ann").await;
        Self { world, at, token }
    }

    async fn call(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let asked = ask(method, &format!("/t/sales/api/updraft/v1{path}")).bearer(token);
        let asked = match body {
            Some(body) => asked.json(body),
            None => asked,
        };
        asked.send(self.at).await
    }

    async fn send(&self, token: &str, text: &str) -> Answer {
        let path = format!("/t/sales/api/updraft/v1/bundles/{}", address(text));
        ask("PUT", &path).bearer(token).text(ARCHIVE, text).send(self.at).await
    }

    async fn plan(&self, token: &str, text: &str) -> Value {
        let answer = self.call(token, "POST", &format!("/bundles/{}/plan", address(text)), None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    async fn activate(&self, token: &str, text: &str, how: Value) -> Answer {
        self.call(token, "POST", &format!("/bundles/{}/activate", address(text)), Some(how)).await
    }

    async fn deploy(&self, text: &str) {
        assert_eq!(self.send(&self.token, text).await.status, 201);
        let base = self.plan(&self.token, text).await["base"].clone();
        let done = self.activate(&self.token, text, json!({ "base": base })).await;
        assert_eq!(done.status, 200, "{done:?}");
    }

    /// Somebody with a role of the tenant that has those rules.
    async fn member(&self, name: &str, rules: Value) -> String {
        self.world.person(name, None).await;
        let role = self.call(&self.token, "PUT", "/roles/own", Some(json!({ "rules": rules }))).await;
        assert_eq!(role.status, 204, "{role:?}");
        let given = self.call(&self.token, "PUT", &format!("/grants/user/{name}/own"), None).await;
        assert_eq!(given.status, 204, "{given:?}");
        sign_in(self.at, name).await
    }
}

#[tokio::test]
async fn a_bundle_is_sent_planned_and_made_active() {
    let place = Place::new().await;
    place.deploy(ALPHA).await;
    let changed =
        ALPHA.replace("retries: 1", "retries: 3") + "---\ndag: beta\ntasks:\n  one: { bash: \"true\" }\n";
    assert_eq!(place.send(&place.token, &changed).await.status, 201);
    let plan = place.plan(&place.token, &changed).await;
    let shown: Vec<(&str, &str)> = plan["dags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dag| (dag["dag_id"].as_str().unwrap(), dag["change"].as_str().unwrap()))
        .collect();
    assert_eq!(shown, [("alpha", "changed"), ("beta", "new")]);
    let difference = json!([{"path": "tasks.one.retries", "before": 1, "after": 3}]);
    assert_eq!(plan["dags"][0]["differences"], difference);

    // Whoever looked at another plan doesn't deploy over what came meanwhile.
    let late = place.activate(&place.token, &changed, json!({})).await;
    assert_eq!(late.status, 409, "{late:?}");
    let done = place.activate(&place.token, &changed, json!({ "base": plan["base"] })).await;
    assert_eq!((done.status, &done.body["active"]), (200, &json!(2)), "{done:?}");

    // Back again: beta is taken away.
    let plan = place.plan(&place.token, ALPHA).await;
    assert_eq!(plan["dags"][1]["change"], "removed");
    let back = place.activate(&place.token, ALPHA, json!({ "base": plan["base"] })).await;
    assert_eq!((back.status, &back.body["stale"]), (200, &json!(1)), "{back:?}");
    let listed = place.call(&place.token, "GET", "/bundles", None).await.body;
    assert_eq!(listed["items"][0]["bundle"], address(ALPHA).to_string());
    assert_eq!((&listed["items"][0]["active"], &listed["items"][1]["active"]), (&json!(true), &json!(false)));
    assert_eq!(listed["items"][0]["created_by"], "ann");
    // Nothing of it is in another tenant.
    let other =
        place.world.post(&format!("/api/updraft/v1/bundles/{}/plan", address(ALPHA)), json!({})).await;
    assert_eq!(other.0, 404, "{other:?}");
    place.world.close().await;
}

#[tokio::test]
async fn what_the_service_lacks_stands_in_the_way() {
    let place = Place::new().await;
    let text = "dag: a\ntasks:\n  x: { bash: \"true\", pool: none_such }\n";
    assert_eq!(place.send(&place.token, text).await.status, 201);
    let plan = place.plan(&place.token, text).await;
    assert_eq!(plan["troubles"][0]["cause"], "missing", "{plan}");
    let refused = place.activate(&place.token, text, json!({})).await;
    assert!(
        refused.status == 409 && refused.body["detail"].as_str().unwrap().contains("none_such"),
        "{refused:?}"
    );
    let done = place.activate(&place.token, text, json!({"despite_missing": true})).await;
    assert_eq!(done.status, 200, "{done:?}");
    let broken = "dag: a\ntasks: 5\n";
    assert_eq!(place.send(&place.token, broken).await.status, 201);
    let base = address(text).to_string();
    let refused = place.activate(&place.token, broken, json!({"base": base, "despite_missing": true})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    place.world.close().await;
}

#[tokio::test]
async fn a_role_bounds_what_is_deployed() {
    let place = Place::new().await;
    place.deploy(ALPHA).await;
    let rule = |kinds: &[&str], actions: &[&str], name: &str| json!({"effect": "allow", "kinds": kinds, "objects": {"name": name}, "actions": actions});
    let rules = json!([rule(&["dag"], &["read"], "*"), rule(&["dag"], &["create"], "beta*")]);
    let bob = place.member("bob", rules).await;
    // He may deploy his own DAG, but not take away or change another's.
    let alone = "dag: beta\ntasks:\n  one: { bash: \"true\" }\n";
    let sent = place.send(&bob, alone).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let base = json!({"base": address(ALPHA).to_string()});
    let refused = place.activate(&bob, alone, base.clone()).await;
    assert!(
        refused.status == 403 && refused.body["detail"].as_str().unwrap().contains("`alpha`"),
        "{refused:?}"
    );
    let both = format!("{}---\n{alone}", ALPHA.replace("retries: 1", "retries: 9"));
    assert_eq!(place.send(&bob, &both).await.status, 201);
    let plan = place.plan(&bob, &both).await;
    assert_eq!(plan["dags"][0].get("differences"), None, "he may not read the code: {plan}");
    assert_eq!(place.activate(&bob, &both, base).await.status, 403);
    // Who may only look may not even send.
    let eve = place.member("eve", json!([rule(&["dag"], &["read"], "*")])).await;
    assert_eq!(place.send(&eve, alone).await.status, 403);
    let log =
        ask("GET", "/t/sales/api/v2/eventLogs").bearer(&place.token).send(place.at).await.body.to_string();
    assert!(log.contains("send_bundle") && log.contains("denied"), "{log}");
    place.world.close().await;
}

#[tokio::test]
async fn a_folder_keeps_its_place_unless_it_is_taken() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ann", Some("tenant_admin")).await;
    let token = sign_in(at, "ann").await;
    let path = format!("/api/updraft/v1/bundles/{}", address(ALPHA));
    let sent = ask("PUT", &path).bearer(&token).text(ARCHIVE, ALPHA).send(at).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let activate =
        async |how: Value| ask("POST", &format!("{path}/activate")).bearer(&token).json(how).send(at).await;
    let base = "b".repeat(64);
    let refused = activate(json!({"base": base})).await;
    assert!(
        refused.status == 409 && refused.body["detail"].as_str().unwrap().contains("dags.folder"),
        "{refused:?}"
    );
    let done = activate(json!({"base": base, "take_over": true})).await;
    assert_eq!(done.status, 200, "{done:?}");
    world.close().await;
}

#[tokio::test]
async fn what_isnt_the_announced_bundle_is_refused() {
    let place = Place::new().await;
    let path = |name: &str| format!("/t/sales/api/updraft/v1/bundles/{name}");
    let other =
        ask("PUT", &path(&"0".repeat(64))).bearer(&place.token).text(ARCHIVE, DAGS).send(place.at).await;
    assert_eq!(other.status, 422, "{other:?}");
    for name in ["..", "%2e%2e%2fetc", "abc", &"A".repeat(64)] {
        let found = ask("PUT", &path(name)).bearer(&place.token).text(ARCHIVE, DAGS).send(place.at).await;
        assert!(matches!(found.status, 404 | 405), "{name}: {found:?}");
    }
    let kind = ask("PUT", &path(&address(DAGS).to_string())).bearer(&place.token).text("text/plain", DAGS);
    assert_eq!(kind.send(place.at).await.status, 415);
    let listed = place.call(&place.token, "GET", "/bundles", None).await.body;
    assert_eq!(listed["items"], json!([]));
    place.world.close().await;
}
