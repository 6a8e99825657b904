//! Tenants, accounts, tokens, roles, and lists that are cut down to what somebody may see.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{ShardId, TenantId},
    model::Dag,
    time::{Span, Timestamp},
};
use engine::journal::{Commit, Journal as _};
use migrations::{
    TenantScope,
    policy::{Action, Effect, Kind, Pattern, Rule, Visible},
    store::{
        Window,
        account::{self, Password},
        audit,
        bundle::{self, NewBundle, NewVersion},
        dag::{self, DagFilter},
        role::{self, RoleId, Subject},
        run::{self, RunFilter},
        tenant::{self, TenantState},
        token::{self, NewToken, TokenKind},
    },
};
use uuid::Uuid;

use crate::{
    batches::Random,
    fixture::{self, OTHER, batch, owned, scope},
    support::{TestDb, on_both},
};

on_both!(
    lists_show_what_the_rules_cover,
    tenants_are_made_suspended_and_deleted,
    accounts_have_one_name_and_one_password,
    tokens_end,
    roles_are_granted_to_accounts_and_groups,
    a_tenant_s_roles_are_its_own,
);

const ALL: Window = Window { limit: 10_000, offset: 0 };

fn other() -> TenantScope {
    TenantScope::new(OTHER)
}

async fn make_other(test: &TestDb) {
    let made = tenant::insert(&test.db, "root", OTHER, "other", ShardId::DEFAULT).await.unwrap();
    assert_eq!(made.map(|made| (made.id, made.state)), Some((OTHER, TenantState::Active)));
}

/// DAGs with their tags. The other tenant has the same DAGs with the tags of their neighbours.
const DAGS: [(&str, &[&str]); 10] = [
    ("a", &[]),
    ("A", &["x"]),
    ("ab", &["y"]),
    ("aB", &["x", "y"]),
    ("a_b", &["%"]),
    ("a.b", &["*"]),
    ("a-b", &["it's \"x\""]),
    ("axb", &["X"]),
    ("b", &["ü"]),
    ("ba", &["x "]),
];

async fn store_tagged(test: &TestDb, scope: TenantScope, shift: usize) {
    let versions = DAGS.iter().enumerate().map(|(n, (name, _))| {
        let mut dag: Dag = (*fixture::model(name, "one")).clone();
        let tags = DAGS[(n + shift) % DAGS.len()].1;
        dag.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        NewVersion {
            version: fixture::version(name, "one"),
            model: Arc::new(dag),
            source: "dags.yaml".to_owned(),
        }
    });
    let new = NewBundle {
        digest: fixture::bundle_id("b1"),
        bytes: 1,
        files: 1,
        created_by: None,
        versions: versions.collect(),
    };
    bundle::store(&test.db, scope, &new).await.unwrap();
}

fn pattern(random: &mut Random) -> Pattern {
    if random.chance(40) {
        let (_, tags) = random.pick(&DAGS);
        return Pattern::Tag(if tags.is_empty() { "none" } else { random.pick(tags) }.to_owned());
    }
    let length = random.below(4);
    let letters = ["a", "b", "A", "*", "*", "_", "%", ".", "-", "?", "[", "]", "\\", "^", "x"];
    Pattern::Name((0..=length).map(|_| random.pick(&letters)).collect())
}

async fn lists_show_what_the_rules_cover(test: TestDb) {
    let db = &test.db;
    make_other(&test).await;
    store_tagged(&test, scope(), 0).await;
    store_tagged(&test, other(), 1).await;
    let mut first = batch(1);
    for tenant in [TenantId::DEFAULT, OTHER] {
        for (name, _) in DAGS {
            first.dags.push(fixture::dag(tenant, name, "one"));
            first.new_runs.push(fixture::run(tenant, name, "r"));
        }
    }
    assert_eq!(owned(db, "one").await.commit(&first).await, Commit::Done);

    for (scope, shift) in [(scope(), 0), (other(), 1)] {
        for (n, (name, _)) in DAGS.iter().enumerate() {
            let tags = DAGS[(n + shift) % DAGS.len()].1.iter().map(|tag| (*tag).to_owned()).collect();
            assert_eq!(dag::tags_of(db, scope, &fixture::dag_id(name)).await.unwrap(), tags);
        }
        assert!(dag::tags_of(db, scope, &fixture::dag_id("nobody")).await.unwrap().is_empty());
    }
    let mut random = Random(11);
    let mut hidden_and_shown = (0, 0);
    for n in 0..300 {
        let mut some = |most: usize| -> BTreeSet<Pattern> {
            let count = random.below(most);
            (0..count).map(|_| pattern(&mut random)).collect()
        };
        let visible = match n {
            0 => Visible::all(),
            1 => Visible::default(),
            _ => Visible { allow: some(4), deny: some(3) },
        };
        for (scope, shift) in [(scope(), 0), (other(), 1)] {
            let mut expected: Vec<&str> = DAGS
                .iter()
                .enumerate()
                .filter(|(n, (name, _))| {
                    let tags = DAGS[(n + shift) % DAGS.len()].1;
                    visible.covers(name, &tags.iter().map(|tag| (*tag).to_owned()).collect())
                })
                .map(|(_, (name, _))| *name)
                .collect();
            expected.sort_unstable();
            let filter = DagFilter { visible: Some(visible.clone()), ..DagFilter::default() };
            let page = dag::list(db, scope, &filter, ALL).await.unwrap();
            let mut found: Vec<&str> = page.rows.iter().map(|dag| dag.row.dag_id.as_str()).collect();
            found.sort_unstable();
            assert_eq!((&found, page.total), (&expected, expected.len() as u64), "{visible:?}");
            let filter = RunFilter { visible: Some(visible.clone()), ..RunFilter::default() };
            let page = run::list(db, scope, &filter, ALL).await.unwrap();
            let mut found: Vec<&str> = page.rows.iter().map(|run| run.dag_id.as_str()).collect();
            found.sort_unstable();
            assert_eq!((&found, page.total), (&expected, expected.len() as u64), "runs: {visible:?}");
            hidden_and_shown.0 += DAGS.len() - expected.len();
            hidden_and_shown.1 += expected.len();
        }
    }
    // Rules that hide or show everything would prove nothing.
    assert!(hidden_and_shown.0 > 300 && hidden_and_shown.1 > 300, "{hidden_and_shown:?}");
}

async fn tenants_are_made_suspended_and_deleted(test: TestDb) {
    let db = &test.db;
    make_other(&test).await;
    let third = TenantId(Uuid::from_u128(0x88));
    assert_eq!(tenant::insert(db, "root", third, "other", ShardId::DEFAULT).await.unwrap(), None);
    let names = async || {
        let found = tenant::list(db).await.unwrap();
        found.into_iter().map(|tenant| tenant.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names().await, "default other");
    let state =
        async || tenant::by_id(db, OTHER).await.unwrap().map(|found| (found.state, found.policy_epoch));
    tenant::set_suspended(db, "root", OTHER, true).await.unwrap();
    assert_eq!(state().await, Some((TenantState::Suspended, 1)));
    assert_eq!(tenant::by_name(db, "other").await.unwrap().map(|found| found.id), Some(OTHER));
    tenant::set_suspended(db, "root", OTHER, false).await.unwrap();
    assert_eq!(state().await, Some((TenantState::Active, 2)));
    tenant::delete(db, "root", OTHER).await.unwrap();
    assert_eq!(state().await, Some((TenantState::Deleted, 3)));
    assert_eq!(tenant::by_name(db, "other").await.unwrap(), None);
    assert_eq!(names().await, "default");
    // The name is free, and it is another tenant that has it.
    let again = tenant::insert(db, "root", third, "other", ShardId::DEFAULT).await.unwrap();
    assert_eq!(again.map(|again| again.id), Some(third));
    let kinds: Vec<String> =
        audit::list(db, audit::PLATFORM, ALL).await.unwrap().rows.into_iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["make_tenant", "change_tenant", "change_tenant", "change_tenant", "make_tenant"]);
}

fn password(hash: &str) -> Password {
    Password { hash: hash.to_owned(), must_change: false, expires_at: None }
}

fn new_token(hash: u8, life: Span) -> NewToken {
    NewToken {
        hash: [hash; 32],
        kind: TokenKind::Api,
        tenant: None,
        name: "ci".to_owned(),
        prefix: "abcd".to_owned(),
        scopes: Some(vec!["run:create".to_owned()]),
        life,
        idle: None,
        from: Some("10.0.0.1".to_owned()),
    }
}

async fn accounts_have_one_name_and_one_password(test: TestDb) {
    let db = &test.db;
    make_other(&test).await;
    assert!(!account::any_user(db).await.unwrap());
    let must = Password { must_change: true, expires_at: Some(Timestamp(5)), ..password("h1") };
    let ann = account::insert_user(db, "root", "ann", &must).await.unwrap().unwrap();
    assert_eq!((ann.tenant, ann.must_change, ann.disabled), (None, true, false));
    assert_eq!(account::insert_user(db, "root", "ann", &password("h2")).await.unwrap(), None);
    assert!(account::any_user(db).await.unwrap());
    assert_eq!(account::user(db, "ann").await.unwrap(), Some((ann.clone(), Some(must))));
    assert_eq!(account::user(db, "Ann").await.unwrap(), None);

    // A service account is another account, in each tenant, and nobody signs in as it.
    let ours = account::insert_service(db, scope(), "ann", "ann").await.unwrap().unwrap();
    let theirs = account::insert_service(db, other(), "bob", "ann").await.unwrap().unwrap();
    assert_eq!(account::insert_service(db, scope(), "ann", "ann").await.unwrap(), None);
    assert_eq!(account::service(db, scope(), "ann").await.unwrap(), Some(ours.clone()));
    assert_eq!(account::services(db, other()).await.unwrap(), [theirs]);
    assert_eq!(account::users(db, None, 10).await.unwrap(), std::slice::from_ref(&ann));
    assert_eq!(account::users(db, Some("ann"), 10).await.unwrap(), []);

    // A new hash of the same password ends nothing, another password ends every token; a late new hash is ignored.
    token::insert(db, None, "ann", ann.id, new_token(1, Span::seconds(60))).await.unwrap();
    account::rehash(db, ann.id, "h1", "h1 again").await.unwrap();
    assert_eq!(token::list(db, ann.id).await.unwrap().len(), 1);
    account::set_password(db, "ann", ann.id, &password("h3")).await.unwrap();
    assert_eq!(token::list(db, ann.id).await.unwrap(), []);
    account::rehash(db, ann.id, "h1 again", "h1 once more").await.unwrap();
    let (_, now) = account::user(db, "ann").await.unwrap().unwrap();
    assert_eq!(now, Some(password("h3")));

    // Deleted with all that was theirs; the same name is another account then.
    role::grant(db, scope(), "root", Subject::Account(ann.id), RoleId(Uuid::from_u128(5))).await.unwrap();
    account::delete(db, None, "root", ann.id).await.unwrap();
    assert_eq!(account::user(db, "ann").await.unwrap(), None);
    assert_eq!(role::grants(db, scope()).await.unwrap(), []);
    let again = account::insert_user(db, "root", "ann", &password("h4")).await.unwrap().unwrap();
    assert_eq!(role::of_account(db, scope(), again.id).await.unwrap().0, BTreeSet::new());
    assert_eq!(account::service(db, scope(), "ann").await.unwrap(), Some(ours));
    assert_eq!(test.number("SELECT count(*) FROM audit WHERE payload LIKE '%h1%'").await, 0);
}

async fn tokens_end(test: TestDb) {
    let db = &test.db;
    let ann = account::insert_user(db, "root", "ann", &password("h")).await.unwrap().unwrap();
    let bob = account::insert_user(db, "root", "bob", &password("h")).await.unwrap().unwrap();
    let kept = token::insert(db, None, "ann", ann.id, new_token(1, Span::seconds(600))).await.unwrap();
    let find = async |hash: u8| token::find(db, &[hash; 32], Some("10.0.0.2")).await.unwrap();
    let (found, owner) = find(1).await.unwrap();
    assert_eq!((found, &owner), (kept.clone(), &ann));
    // From where it was used last is written down.
    let used = token::list(db, ann.id).await.unwrap().pop().unwrap();
    assert_eq!(used.used_from.as_deref(), Some("10.0.0.2"));
    assert_eq!(find(2).await, None);

    // Its time is over, or it lay idle: neither is good, and the next insertion removes what has ended.
    token::insert(db, None, "ann", ann.id, new_token(3, Span(0))).await.unwrap();
    let idle = NewToken { idle: Some(Span(0)), ..new_token(4, Span::seconds(600)) };
    token::insert(db, Some(scope()), "ann", ann.id, idle).await.unwrap();
    assert_eq!((find(3).await, find(4).await), (None, None));
    token::insert(db, None, "ann", ann.id, new_token(5, Span::seconds(600))).await.unwrap();
    assert_eq!(test.number("SELECT count(*) FROM token").await, 3);

    // Nobody ends another's, and one that was ended is gone at once.
    assert!(!token::delete(db, None, "bob", bob.id, kept.id).await.unwrap());
    assert!(find(1).await.is_some());
    assert!(token::delete(db, None, "ann", ann.id, kept.id).await.unwrap());
    assert_eq!(find(1).await, None);
    assert!(!token::delete(db, None, "ann", ann.id, kept.id).await.unwrap());

    // Who is switched off has none, and switching on brings none back.
    account::set_disabled(db, "root", ann.id, true).await.unwrap();
    assert_eq!(find(5).await, None);
    account::set_disabled(db, "root", ann.id, false).await.unwrap();
    assert_eq!((find(5).await, token::list(db, ann.id).await.unwrap()), (None, vec![]));
}

fn read_dags(objects: Pattern) -> Rule {
    Rule {
        effect: Effect::Allow,
        kinds: BTreeSet::from([Kind::Dag]),
        objects,
        actions: BTreeSet::from([Action::Read]),
    }
}

async fn roles_are_granted_to_accounts_and_groups(test: TestDb) {
    let db = &test.db;
    let ann = account::insert_user(db, "root", "ann", &password("h")).await.unwrap().unwrap();
    let bob = account::insert_user(db, "root", "bob", &password("h")).await.unwrap().unwrap();
    let epoch = async || tenant::by_id(db, TenantId::DEFAULT).await.unwrap().unwrap().policy_epoch;
    let (built_in, over) = (RoleId(Uuid::from_u128(5)), RoleId(Uuid::from_u128(6)));
    let rules = [read_dags(Pattern::Tag("it's".to_owned()))];
    role::set(db, scope(), "root", "sales", Some("for sales"), &[]).await.unwrap();
    let before = role::list(db, scope()).await.unwrap().pop().unwrap();
    role::set(db, scope(), "root", "sales", None, &rules).await.unwrap();
    let made = role::list(db, scope()).await.unwrap();
    assert_eq!((made.len(), made[0].id, &made[0].rules[..]), (1, before.id, &rules[..]));
    assert_eq!(made[0].description, None);
    assert_eq!(epoch().await, 2);

    role::set_group(db, scope(), "root", "team", &BTreeSet::from([ann.id, bob.id])).await.unwrap();
    let team = role::group(db, scope(), "team").await.unwrap().unwrap();
    role::grant(db, scope(), "root", Subject::Group(team), made[0].id).await.unwrap();
    role::grant(db, scope(), "root", Subject::Account(ann.id), built_in).await.unwrap();
    role::grant(db, scope(), "root", Subject::Account(ann.id), built_in).await.unwrap();
    role::grant(db, role::PLATFORM, "root", Subject::Account(bob.id), over).await.unwrap();
    let of = async |id| role::of_account(db, scope(), id).await.unwrap();
    assert_eq!(of(ann.id).await, (BTreeSet::from([made[0].id, built_in]), BTreeSet::new()));
    assert_eq!(of(bob.id).await, (BTreeSet::from([made[0].id]), BTreeSet::from([over])));
    assert_eq!(role::tenants_of(db, ann.id).await.unwrap(), ["default"]);
    let names: Vec<String> =
        role::grants(db, scope()).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names.iter().filter(|name| *name == "ann").count(), 1);
    assert_eq!(names.len(), 2);

    // Each way out of a role, and each counts the policy up.
    let at = epoch().await;
    role::set_group(db, scope(), "root", "team", &BTreeSet::from([bob.id])).await.unwrap();
    assert_eq!(role::group(db, scope(), "team").await.unwrap(), Some(team));
    assert_eq!(of(ann.id).await.0, BTreeSet::from([built_in]));
    assert!(role::revoke(db, scope(), "root", Subject::Account(ann.id), built_in).await.unwrap());
    assert!(!role::revoke(db, scope(), "root", Subject::Account(ann.id), built_in).await.unwrap());
    assert_eq!(role::tenants_of(db, ann.id).await.unwrap(), Vec::<String>::new());
    assert!(role::delete(db, scope(), "root", "sales").await.unwrap());
    assert!(!role::delete(db, scope(), "root", "sales").await.unwrap());
    assert_eq!(of(bob.id).await, (BTreeSet::new(), BTreeSet::from([over])));
    assert!(role::delete_group(db, scope(), "root", "team").await.unwrap());
    assert!(!role::delete_group(db, scope(), "root", "team").await.unwrap());
    assert_eq!(epoch().await, at + 4);
    assert_eq!(test.number("SELECT count(*) FROM role_grant").await, 1);
}

async fn a_tenant_s_roles_are_its_own(test: TestDb) {
    let db = &test.db;
    make_other(&test).await;
    let ann = account::insert_user(db, "root", "ann", &password("h")).await.unwrap().unwrap();
    for scope in [scope(), other()] {
        role::set(db, scope, "root", "same", None, &[]).await.unwrap();
        role::set_group(db, scope, "root", "same", &BTreeSet::new()).await.unwrap();
    }
    let ours = role::list(db, scope()).await.unwrap().pop().unwrap().id;
    let theirs = role::list(db, other()).await.unwrap().pop().unwrap().id;
    assert_ne!(ours, theirs);
    let both = BTreeSet::from([ours, theirs]);
    let some = role::some(db, scope(), &both).await.unwrap();
    assert_eq!(some.iter().map(|role| role.id).collect::<Vec<_>>(), [ours]);
    let their_group = role::group(db, other(), "same").await.unwrap();
    assert_ne!(role::group(db, scope(), "same").await.unwrap(), their_group);

    role::grant(db, other(), "root", Subject::Account(ann.id), theirs).await.unwrap();
    assert_eq!(role::of_account(db, scope(), ann.id).await.unwrap().0, BTreeSet::new());
    assert_eq!(role::of_account(db, other(), ann.id).await.unwrap().0, BTreeSet::from([theirs]));
    assert_eq!(role::grants(db, scope()).await.unwrap(), []);
    assert!(!role::revoke(db, scope(), "root", Subject::Account(ann.id), theirs).await.unwrap());
    assert!(role::delete(db, scope(), "root", "same").await.unwrap());
    assert!(role::delete_group(db, scope(), "root", "same").await.unwrap());
    assert_eq!(role::list(db, other()).await.unwrap().len(), 1);
    assert_eq!(role::groups(db, other()).await.unwrap().len(), 1);
    assert_eq!(role::tenants_of(db, ann.id).await.unwrap(), ["other"]);
    tenant::delete(db, "root", OTHER).await.unwrap();
    assert_eq!(role::tenants_of(db, ann.id).await.unwrap(), Vec::<String>::new());
}
