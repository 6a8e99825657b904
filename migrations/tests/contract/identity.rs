//! Accounts, tokens, roles, tenants, and lists cut down to what may be seen.

use std::collections::BTreeSet;

use dags::{
    ids::{ShardId, TenantId},
    time::{Span, Timestamp},
};
use migrations::{
    TenantScope,
    journal::Commit,
    policy::{Action, Effect, Kind, Pattern, Rule, Visible},
    store::{
        Window,
        account::{self, Password},
        audit,
        dag::{self, DagFilter},
        role::{self, RoleId, Subject},
        run::{self, RunFilter},
        tenant::{self, TenantState},
        token::{self, NewToken, TokenKind},
    },
};

use crate::{
    fixture::{self, OTHER, scope},
    support::{TestDb, on_both},
};

on_both!(
    a_token_is_found_by_its_hash_until_it_ends,
    what_ends_an_account_ends_its_tokens,
    roles_come_by_oneself_or_by_a_group_in_one_tenant_only,
    a_tenant_is_made_suspended_and_deleted,
    lists_have_what_may_be_seen_and_count_nothing_else,
);

fn password(hash: &str) -> Password {
    Password { hash: hash.to_owned(), must_change: false, expires_at: None }
}

fn new_token(byte: u8) -> NewToken {
    NewToken {
        hash: [byte; 32],
        kind: TokenKind::Session,
        tenant: None,
        name: "t".to_owned(),
        prefix: "abcdefgh".to_owned(),
        scopes: Some(vec!["dag:read".to_owned()]),
        life: Span::seconds(3600),
        idle: Some(Span::seconds(600)),
        from: Some("192.0.2.1".to_owned()),
    }
}

async fn a_token_is_found_by_its_hash_until_it_ends(test: TestDb) {
    let db = &test.db;
    let ana = account::insert_user(db, "test", "ana", &password("h")).await.unwrap().unwrap();
    assert!(account::insert_user(db, "test", "ana", &password("x")).await.unwrap().is_none());
    let made = token::insert(db, None, "ana", ana.id, new_token(1)).await.unwrap();
    let (found, owner) = token::find(db, &[1; 32], Some("192.0.2.1")).await.unwrap().unwrap();
    assert_eq!((&found, &owner), (&made, &ana));
    assert!(token::find(db, &[2; 32], None).await.unwrap().is_none());
    // Unused for too long, then over.
    test.sql("UPDATE token SET used_at = used_at - 600000000").await;
    assert!(token::find(db, &[1; 32], None).await.unwrap().is_none());
    test.sql("UPDATE token SET used_at = used_at + 300000000").await;
    assert!(token::find(db, &[1; 32], Some("192.0.2.9")).await.unwrap().is_some());
    let listed = token::list(db, ana.id).await.unwrap();
    assert_eq!(listed[0].used_from.as_deref(), Some("192.0.2.9"));
    assert!(fixture::clock().since(listed[0].used_at).0 < 60_000_000);
    test.sql("UPDATE token SET expires_at = 1").await;
    assert!(token::find(db, &[1; 32], None).await.unwrap().is_none());
    assert!(token::list(db, ana.id).await.unwrap().is_empty());
}

async fn what_ends_an_account_ends_its_tokens(test: TestDb) {
    let db = &test.db;
    let ana = account::insert_user(db, "test", "ana", &password("h")).await.unwrap().unwrap();
    let good = async || token::find(db, &[1; 32], None).await.unwrap().is_some();
    token::insert(db, None, "ana", ana.id, new_token(1)).await.unwrap();
    account::set_password(db, "ana", ana.id, &password("other")).await.unwrap();
    assert!(!good().await);
    token::insert(db, None, "ana", ana.id, new_token(1)).await.unwrap();
    account::set_disabled(db, "test", ana.id, true).await.unwrap();
    assert!(!good().await);
    account::set_disabled(db, "test", ana.id, false).await.unwrap();
    let made = token::insert(db, None, "ana", ana.id, new_token(1)).await.unwrap();
    let bo = account::insert_user(db, "test", "bo", &password("h")).await.unwrap().unwrap();
    assert!(!token::delete(db, None, "bo", bo.id, made.id).await.unwrap(), "not one's own");
    assert!(good().await);
    account::delete(db, None, "test", ana.id).await.unwrap();
    assert!(!good().await);
    assert!(account::user(db, "ana").await.unwrap().is_none());
    let written = audit::list(db, audit::PLATFORM, Window::default()).await.unwrap();
    assert!(written.rows.iter().any(|entry| entry.kind == "delete_account"), "{written:?}");
    assert!(audit::list(db, scope(), Window::default()).await.unwrap().rows.is_empty());
}

fn rule(pattern: Pattern) -> Rule {
    Rule {
        effect: Effect::Allow,
        kinds: BTreeSet::from([Kind::Dag]),
        objects: pattern,
        actions: BTreeSet::from([Action::Read]),
    }
}

async fn roles_come_by_oneself_or_by_a_group_in_one_tenant_only(test: TestDb) {
    let db = &test.db;
    tenant::insert(db, "test", OTHER, "other", ShardId::DEFAULT).await.unwrap().unwrap();
    let other = TenantScope::new(OTHER);
    let ana = account::insert_user(db, "test", "ana", &password("h")).await.unwrap().unwrap();
    let bot = account::insert_service(db, scope(), "test", "ana").await.unwrap().unwrap();
    assert_eq!(account::service(db, scope(), "ana").await.unwrap(), Some(bot.clone()));
    assert_eq!(account::service(db, other, "ana").await.unwrap(), None);
    let epoch = async || tenant::by_id(db, TenantId::DEFAULT).await.unwrap().unwrap().policy_epoch;
    let before = epoch().await;
    role::set(db, scope(), "test", "r", None, &[rule(Pattern::Tag("x".to_owned()))]).await.unwrap();
    role::set_group(db, scope(), "test", "g", &BTreeSet::from([ana.id, bot.id])).await.unwrap();
    let group = role::group(db, scope(), "g").await.unwrap().unwrap();
    let own = role::list(db, scope()).await.unwrap().remove(0);
    assert_eq!(own.rules, [rule(Pattern::Tag("x".to_owned()))]);
    let built_in = RoleId(uuid::Uuid::from_u128(7));
    role::grant(db, scope(), "test", Subject::Group(group), own.id).await.unwrap();
    role::grant(db, scope(), "test", Subject::Account(ana.id), built_in).await.unwrap();
    role::grant(db, scope(), "test", Subject::Account(ana.id), built_in).await.unwrap();
    role::grant(db, role::PLATFORM, "test", Subject::Account(ana.id), built_in).await.unwrap();
    assert!(epoch().await > before + 3);
    let both = BTreeSet::from([own.id, built_in]);
    let (here, over) = role::of_account(db, scope(), ana.id).await.unwrap();
    assert_eq!((here, over), (both.clone(), BTreeSet::from([built_in])));
    assert_eq!(role::of_account(db, other, ana.id).await.unwrap().0, BTreeSet::new());
    assert_eq!(role::of_account(db, scope(), bot.id).await.unwrap().0, BTreeSet::from([own.id]));
    assert_eq!(role::tenants_of(db, bot.id).await.unwrap(), ["default"]);
    assert_eq!(role::some(db, other, &both).await.unwrap(), []);
    assert_eq!(role::grants(db, scope()).await.unwrap().len(), 2);
    assert_eq!(role::groups(db, scope()).await.unwrap()[0].members, ["ana", "ana"]);
    assert!(!role::revoke(db, other, "test", Subject::Account(ana.id), built_in).await.unwrap());
    assert!(role::delete_group(db, scope(), "test", "g").await.unwrap());
    assert!(!role::delete_group(db, scope(), "test", "g").await.unwrap());
    assert!(role::delete(db, scope(), "test", "r").await.unwrap());
    assert_eq!(role::of_account(db, scope(), ana.id).await.unwrap().0, BTreeSet::from([built_in]));
}

async fn a_tenant_is_made_suspended_and_deleted(test: TestDb) {
    let db = &test.db;
    let made = tenant::insert(db, "test", OTHER, "other", ShardId::DEFAULT).await.unwrap().unwrap();
    let again = TenantId(uuid::Uuid::from_u128(9));
    assert_eq!(tenant::insert(db, "test", again, "other", ShardId::DEFAULT).await.unwrap(), None);
    tenant::set_suspended(db, "test", OTHER, true).await.unwrap();
    let found = tenant::by_name(db, "other").await.unwrap().unwrap();
    assert_eq!((found.state, found.id), (TenantState::Suspended, made.id));
    assert!(found.policy_epoch > made.policy_epoch);
    tenant::delete(db, "test", OTHER).await.unwrap();
    assert_eq!(tenant::by_name(db, "other").await.unwrap(), None);
    assert_eq!(tenant::list(db).await.unwrap().len(), 1);
    // The name is free.
    assert!(tenant::insert(db, "test", again, "other", ShardId::DEFAULT).await.unwrap().is_some());
}

async fn lists_have_what_may_be_seen_and_count_nothing_else(test: TestDb) {
    let db = &test.db;
    let names = ["a", "ab", "a_b", "A", "b", "b_a", "a-b"];
    let tags = |name: &str| -> BTreeSet<String> {
        ["x", "y'z"]
            .into_iter()
            .filter(|tag| name.contains(&tag[..1]) || name == "b")
            .map(str::to_owned)
            .collect()
    };
    let journal = fixture::owned(db, "one").await;
    let mut batch = fixture::batch(1);
    for (n, name) in names.iter().enumerate() {
        fixture::store_tagged(db, scope(), name, "one", tags(name)).await;
        batch.dags.push(fixture::dag(TenantId::DEFAULT, name, "one"));
        let mut run = fixture::run(TenantId::DEFAULT, name, "r");
        (run.run_after, run.logical_date) = (Timestamp(n as i64), None);
        batch.new_runs.push(run);
    }
    let mut journal = journal;
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    let glob = |text: &str| Pattern::Name(text.to_owned());
    let tag = |text: &str| Pattern::Tag(text.to_owned());
    let patterns = [
        glob("*"),
        glob("a*"),
        glob("*b"),
        glob("a_b"),
        glob("a?b"),
        glob("a%"),
        glob("[ab]"),
        glob(r"a\*"),
        glob("A"),
        tag("x"),
        tag("y'z"),
        tag("none"),
    ];
    let mut cases = vec![Visible::default(), Visible::all()];
    for allow in &patterns {
        for deny in &patterns {
            cases.push(Visible { allow: [allow.clone()].into(), deny: [].into() });
            cases.push(Visible { allow: [allow.clone(), glob("b")].into(), deny: [deny.clone()].into() });
        }
    }
    let window = Window { limit: 3, offset: 1 };
    for visible in cases {
        let expected: BTreeSet<&str> =
            names.into_iter().filter(|name| visible.covers(name, &tags(name))).collect();
        let filter = DagFilter { visible: Some(visible.clone()), ..DagFilter::default() };
        let all = dag::list(db, scope(), &filter, Window::default()).await.unwrap();
        let found: BTreeSet<&str> = all.rows.iter().map(|dag| dag.row.dag_id.as_str()).collect();
        assert_eq!(found, expected, "{visible:?}");
        let page = dag::list(db, scope(), &filter, window).await.unwrap();
        assert_eq!(page.total, expected.len() as u64, "{visible:?}");
        let filter = RunFilter { visible: Some(visible.clone()), ..RunFilter::default() };
        let runs = run::list(db, scope(), &filter, Window::default()).await.unwrap();
        let found: BTreeSet<&str> = runs.rows.iter().map(|run| run.dag_id.as_str()).collect();
        assert_eq!((found, runs.total), (expected.clone(), expected.len() as u64), "{visible:?}");
    }
}
