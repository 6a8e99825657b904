//! Signing in, and what a credential is good for.

use serde_json::json;

use crate::{
    wire::{PASSWORD, ask, sign_in},
    world::World,
};

#[tokio::test]
async fn the_first_administrator_sets_a_password_before_anything_else() {
    let mut world = World::new().await;
    let at = world.listen().await;
    let first = api::first_admin(&world.db, dags::ids::TenantId::DEFAULT).await.unwrap().unwrap();
    assert!(api::first_admin(&world.db, dags::ids::TenantId::DEFAULT).await.unwrap().is_none());
    let login = json!({"username": first.name, "password": *first.password});
    let answer = ask("POST", "/auth/token").json(login.clone()).send(at).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    let token = answer.body["access_token"].as_str().unwrap().to_owned();
    let me = ask("GET", "/api/updraft/v1/me").bearer(&token).send(at).await;
    assert_eq!((me.status, &me.body["must_change_password"]), (200, &json!(true)));
    let refused = ask("GET", "/api/v2/dags").bearer(&token).send(at).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("password.must_change")));
    let change = |old: &str, new: &str| {
        ask("POST", "/api/updraft/v1/me/password").bearer(&token).json(json!({"old": old, "new": new}))
    };
    let weak = change(&first.password, "password1234").send(at).await;
    assert_eq!((weak.status, &weak.body["errors"][0]["pointer"]), (422, &json!("/new")), "{weak:?}");
    assert_eq!(weak.header("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(change(&first.password, &first.password).send(at).await.status, 422);
    assert_eq!(change("wrong", PASSWORD).send(at).await.status, 401);
    assert_eq!(change(&first.password, PASSWORD).send(at).await.status, 204);
    // Both the old password and the old token are dead.
    assert_eq!(ask("GET", "/api/updraft/v1/me").bearer(&token).send(at).await.status, 401);
    assert_eq!(ask("POST", "/auth/token").json(login).send(at).await.status, 401);
    let token = sign_in(at, "admin").await;
    let dags = ask("GET", "/api/v2/dags").bearer(&token).send(at).await;
    assert_eq!((dags.status, &dags.body["total_entries"]), (200, &json!(6)));
    world.close().await;
}

#[tokio::test]
async fn a_sign_in_comes_as_json_or_as_a_form() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("viewer")).await;
    let form = format!("grant_type=password&username=ana&password={}", PASSWORD.replace(' ', "+"));
    let kind = "application/x-www-form-urlencoded";
    for path in ["/auth/token", "/auth/token/cli"] {
        let answer = ask("POST", path).text(kind, &form).send(at).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let token = answer.body["access_token"].as_str().unwrap().to_owned();
        assert_eq!(ask("GET", "/api/v2/dags").bearer(&token).send(at).await.status, 200);
    }
    assert_eq!(ask("POST", "/auth/token").text("text/plain", &form).send(at).await.status, 415);
    let more = json!({"username": "ana", "password": PASSWORD, "role": "tenant_admin"});
    assert_eq!(ask("POST", "/auth/token").json(more).send(at).await.status, 422);
    world.close().await;
}

#[tokio::test]
async fn no_sign_in_tells_why_it_was_refused() {
    let mut world = World::new().await;
    let at = world.listen().await;
    for name in ["ana", "off"] {
        world.person(name, Some("viewer")).await;
    }
    let off = json!({"disabled": true});
    let patched = world.patch("/api/updraft/v1/users/off", off).await;
    assert_eq!(patched.0, 200, "{patched:?}");
    let mut answers = Vec::new();
    for (name, password) in [("ana", "wrong"), ("nobody", PASSWORD), ("off", PASSWORD), ("ana", "")] {
        let login = json!({"username": name, "password": password});
        let mut answer = ask("POST", "/auth/token").json(login).send(at).await;
        answer.headers = answer.headers.lines().filter(|line| !line.starts_with("date")).collect();
        answers.push(answer);
    }
    assert_eq!(answers[0].status, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // Guessing gets slower; the right password has to wait too.
    for _ in 0..4 {
        let login = json!({"username": "ana", "password": "wrong"});
        ask("POST", "/auth/token").json(login).send(at).await;
    }
    let login = json!({"username": "ana", "password": PASSWORD});
    let late = ask("POST", "/auth/token").json(login).send(at).await;
    assert_eq!(late.status, 429, "{late:?}");
    assert!(late.header("retry-after").is_some());
    world.close().await;
}

#[tokio::test]
async fn a_bad_credential_is_never_taken_for_none() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("viewer")).await;
    let good = sign_in(at, "ana").await;
    let dags = || ask("GET", "/api/v2/dags");
    assert_eq!(dags().bearer(&good).send(at).await.status, 200);
    assert_eq!(dags().send(at).await.status, 401);
    assert_eq!(dags().send(at).await.header("www-authenticate").as_deref(), Some("Bearer"));
    let mut forged = good.clone();
    forged.replace_range(20..21, if &good[20..21] == "x" { "y" } else { "x" });
    for bad in ["nothing", "", "updraft_session_x", &forged, &good[1..], &format!("{good} x")] {
        assert_eq!(dags().bearer(bad).send(at).await.status, 401, "{bad}");
        // Not even with a cookie that is good.
        let both = dags().bearer(bad).with("Cookie", &format!("updraft-session={good}")).send(at).await;
        assert!(matches!(both.status, 400 | 401), "{bad}: {both:?}");
    }
    for scheme in [format!("Basic {good}"), good.clone(), format!("Bearer{good}")] {
        assert_eq!(dags().with("Authorization", &scheme).send(at).await.status, 401, "{scheme}");
    }
    let twice = dags().bearer(&good).bearer(&good).send(at).await;
    assert_eq!(twice.status, 400);
    // A token in a URL is no credential.
    for path in [format!("/api/v2/dags?token={good}"), format!("/api/v2/dags?access_token={good}")] {
        assert_eq!(ask("GET", &path).send(at).await.status, 401);
    }
    // No spelling of a path is exempt.
    for path in
        ["/api/v2/dags/health", "/api/v2/version/../dags", "/api/v2//dags", "/API/v2/dags", "/api/v2/dags/"]
    {
        let answer = ask("GET", path).send(at).await;
        assert!(matches!(answer.status, 401 | 404), "{path}: {answer:?}");
    }
    for open in ["/api/v2/version", "/api/v2/monitor/health"] {
        assert_eq!(ask("GET", open).send(at).await.status, 200, "{open}");
    }
    world.close().await;
}

#[tokio::test]
async fn signing_out_ends_a_token_at_once_and_switching_off_ends_all() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("viewer")).await;
    let (one, two) = (sign_in(at, "ana").await, sign_in(at, "ana").await);
    let status = async |token: &str| ask("GET", "/api/v2/dags").bearer(token).send(at).await.status;
    assert_eq!(ask("DELETE", "/api/updraft/v1/session").bearer(&one).send(at).await.status, 204);
    assert_eq!((status(&one).await, status(&two).await), (401, 200));
    world.patch("/api/updraft/v1/users/ana", json!({"disabled": true})).await;
    assert_eq!(status(&two).await, 401);
    world.close().await;
}

#[tokio::test]
async fn a_browser_s_session_lives_in_a_cookie_that_only_our_pages_use() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("operator")).await;
    let login = json!({"username": "ana", "password": PASSWORD});
    let opened = ask("POST", "/api/updraft/v1/session").json(login).send(at).await;
    assert_eq!(opened.status, 204, "{opened:?}");
    let set = opened.header("set-cookie").unwrap();
    for part in ["updraft-session=updraft_session_", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = set.split(';').next().unwrap().to_owned();
    let read = ask("GET", "/api/v2/dags").with("Cookie", &cookie).send(at).await;
    assert_eq!(read.status, 200);
    let change = || {
        let patch = json!({"is_paused": true});
        ask("PATCH", "/api/v2/dags/etl").with("Cookie", &cookie).json(patch)
    };
    assert_eq!(change().send(at).await.status, 403, "no word of where it comes from");
    assert_eq!(change().with("Origin", "http://evil.example").send(at).await.status, 403);
    assert_eq!(change().with("Sec-Fetch-Site", "cross-site").send(at).await.status, 403);
    assert_eq!(change().with("Sec-Fetch-Site", "same-origin").send(at).await.status, 200);
    assert_eq!(change().with("Origin", &format!("http://{at}")).send(at).await.status, 200);
    // A form of another site can't pose as JSON.
    let form = ask("PATCH", "/api/v2/dags/etl").with("Cookie", &cookie).with("Sec-Fetch-Site", "same-origin");
    assert_eq!(form.text("text/plain", "{\"is_paused\": true}").send(at).await.status, 415);
    let delete = ask("DELETE", "/api/updraft/v1/session").with("Cookie", &cookie);
    assert_eq!(delete.clone().send(at).await.status, 403);
    assert_eq!(delete.with("Sec-Fetch-Site", "same-origin").send(at).await.status, 204);
    assert_eq!(ask("GET", "/api/v2/dags").with("Cookie", &cookie).send(at).await.status, 401);
    world.close().await;
}

#[tokio::test]
async fn another_name_of_this_machine_is_not_answered() {
    let mut world = World::new().await;
    let at = world.listen().await;
    for host in ["evil.example", "localhost.evil.example", ""] {
        let answer = ask("GET", "/api/v2/version").with("Host", host).send(at).await;
        assert_eq!(answer.status, 421, "{host}");
    }
    let named = ask("GET", "/api/v2/version").with("Host", "localhost:1").send(at).await;
    assert_eq!(named.status, 200);
    world.close().await;
}

#[tokio::test]
async fn tokens_of_programs_do_what_they_are_for_and_no_more() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("operator")).await;
    let session = sign_in(at, "ana").await;
    let make = |body| ask("POST", "/api/updraft/v1/me/tokens").bearer(&session).json(body);
    let made = make(json!({"name": "ci", "scopes": ["dag:read"], "days": 7})).send(at).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.body["token"].as_str().unwrap().to_owned();
    let status = async |method: &str, path: &str| ask(method, path).bearer(&token).send(at).await.status;
    assert_eq!(status("GET", "/api/v2/dags").await, 200);
    assert_eq!(status("GET", "/api/v2/pools").await, 403);
    let trigger = ask("POST", "/api/v2/dags/etl/dagRuns").bearer(&token).json(json!({"logical_date": null}));
    assert_eq!(trigger.send(at).await.status, 403);
    // It makes no other token, and no one is without an end.
    let again = ask("POST", "/api/updraft/v1/me/tokens").bearer(&token).json(json!({"name": "more"}));
    assert_eq!(again.send(at).await.status, 403);
    for bad in [
        json!({"name": "x", "days": 366}),
        json!({"name": "x", "days": 0}),
        json!({"name": "x", "scopes": ["everything"]}),
        json!({"name": "x", "expires_at": null}),
        json!({"name": "X Y"}),
    ] {
        assert_eq!(make(bad.clone()).send(at).await.status, 422, "{bad}");
    }
    let list = ask("GET", "/api/updraft/v1/me/tokens").bearer(&session).send(at).await;
    assert!(!list.body.to_string().contains(&token), "{list:?}");
    let id = made.body["id"].as_str().unwrap().to_owned();
    let end = ask("DELETE", &format!("/api/updraft/v1/me/tokens/{id}")).bearer(&session).send(at).await;
    assert_eq!(end.status, 204);
    assert_eq!(status("GET", "/api/v2/dags").await, 401);
    world.close().await;
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_is_refused() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("tenant_admin")).await;
    let token = sign_in(at, "ana").await;
    let value = "x".repeat(1024 * 1024);
    let body = json!({"key": "big", "value": value});
    let large = ask("POST", "/api/v2/variables").bearer(&token).json(body).send(at).await;
    assert_eq!(large.status, 413);
    let header =
        ask("GET", "/api/v2/dags").bearer(&token).with("X-Big", &"x".repeat(64 * 1024)).send(at).await;
    assert_eq!(header.status, 431, "{header:?}");
    world.close().await;
}

#[tokio::test]
async fn a_link_signs_in_its_author_and_nobody_without_its_key() {
    let mut world = World::new().await;
    let at = world.listen().await;
    let path = world.api.as_ref().unwrap().admit_author().await.unwrap();
    let (start, key) = path.rsplit_once('/').unwrap();
    assert!(key.len() >= 32, "it can't be guessed");
    for wrong in [
        format!("{start}/"),
        format!("{start}/{}", &key[1..]),
        format!("{path}x", path = *path),
        format!("{start}/{}", "A".repeat(key.len())),
    ] {
        let answer = ask("GET", &wrong).send(at).await;
        assert!(answer.status >= 400 && answer.header("set-cookie").is_none(), "{wrong}: {answer:?}");
    }
    let posted = ask("POST", &path).send(at).await;
    assert!(posted.status >= 400 && posted.header("set-cookie").is_none(), "{posted:?}");

    let entered = ask("GET", &path).send(at).await;
    assert_eq!((entered.status, entered.header("location").as_deref()), (303, Some("/")), "{entered:?}");
    let set = entered.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let me = ask("GET", "/api/updraft/v1/me").with("Cookie", &cookie).send(at).await;
    assert_eq!((me.status, &me.body["name"]), (200, &json!("author")), "{me:?}");
    assert_eq!(ask("GET", "/api/v2/dags").with("Cookie", &cookie).send(at).await.status, 200);
    // The author has no password that somebody could guess.
    for password in ["", "author", PASSWORD] {
        let login = json!({"username": "author", "password": password});
        assert_eq!(ask("POST", "/auth/token").json(login).send(at).await.status, 401);
    }
    world.close().await;
}

#[tokio::test]
async fn without_an_author_there_is_no_link() {
    let mut world = World::new().await;
    let at = world.listen().await;
    for path in ["/sign-in/", "/sign-in/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let answer = ask("GET", path).send(at).await;
        assert!(answer.header("set-cookie").is_none(), "{answer:?}");
        assert_ne!(answer.status, 303, "{answer:?}");
    }
    world.close().await;
}
