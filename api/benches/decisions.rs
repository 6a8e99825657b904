//! How long a decision about a right takes with 1,000 tenants and 20,000 rules of custom roles (aim: under 100 µs): when the
//! rules are known, and the first time after a change of a tenant's policy.
#![expect(clippy::expect_used, reason = "this is a benchmark")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
};

use dags::ids::{ShardId, TenantId};
use migrations::{
    Db, Role, TenantScope,
    policy::{Action, Effect, Kind, Pattern, Rule},
    store::{
        role::{self, RoleId},
        tenant,
    },
};

#[path = "../src/policy.rs"]
#[expect(dead_code, reason = "the service uses all of it")]
mod policy;

/// What the policy says of errors, outside of the service.
mod error {
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum Error {
        #[error("{0}")]
        Internal(String),
        #[error(transparent)]
        Store(#[from] migrations::Error),
    }
}

const TENANTS: usize = 1_000;
const RULES: usize = 20;

struct Installation {
    runtime: tokio::runtime::Runtime,
    db: Db,
    tenants: Vec<(TenantScope, BTreeSet<RoleId>)>,
    policies: policy::Policies,
    _folder: tempfile::TempDir,
}

/// Rules as a team has them: what is its own by name, something by tag, and an exception.
fn rules(tenant: usize) -> Vec<Rule> {
    let rule = |n: usize| Rule {
        effect: if n % 7 == 6 { Effect::Deny } else { Effect::Allow },
        kinds: [Kind::Dag, Kind::Run, Kind::Task, Kind::Log].into(),
        objects: match n % 5 {
            4 => Pattern::Tag(format!("team{n}")),
            _ => Pattern::Name(format!("team{tenant}-area{n}-*")),
        },
        actions: [Action::Read, Action::Change].into(),
    };
    (0..RULES).map(rule).collect()
}

impl Installation {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder for the database");
        let url = format!("sqlite:{}", folder.path().join("updraft.db").display());
        let (db, tenants) = runtime.block_on(async {
            let db = Db::connect(&url, Role::Owner).await.expect("SQLite opens");
            migrations::migrate::up(&db).await.expect("the schema is made");
            let mut tenants = Vec::new();
            for number in 0..TENANTS {
                let id = TenantId(uuid::Uuid::now_v7());
                let made = tenant::insert(&db, "bench", id, &format!("team{number}"), ShardId::DEFAULT).await;
                made.expect("a tenant is made").expect("the name is free");
                let scope = TenantScope::new(id);
                role::set(&db, scope, "bench", "team", None, &rules(number)).await.expect("a role is made");
                let roles = role::list(&db, scope).await.expect("roles are read");
                tenants.push((scope, roles.into_iter().map(|role| role.id).collect()));
            }
            (db, tenants)
        });
        Self { runtime, db, tenants, policies: policy::Policies::default(), _folder: folder }
    }

    fn decide(&self, tenant: usize, epoch: i64) -> bool {
        let (scope, roles) = &self.tenants[tenant];
        self.runtime.block_on(async {
            let set = self.policies.of(&self.db, *scope, epoch, roles).await.expect("rules are read");
            set.may(Kind::Run, Action::Read, &format!("team{tenant}-area19-orders"), &BTreeSet::new())
        })
    }
}

fn main() {
    divan::main();
}

#[divan::bench]
fn known_rules(bencher: divan::Bencher<'_, '_>) {
    let installation = Installation::new();
    for tenant in 0..TENANTS {
        installation.decide(tenant, 0);
    }
    let next = AtomicUsize::new(0);
    bencher.bench(|| installation.decide(next.fetch_add(1, Ordering::Relaxed) % TENANTS, 0));
}

#[divan::bench]
fn after_a_change(bencher: divan::Bencher<'_, '_>) {
    let installation = Installation::new();
    let epoch = AtomicI64::new(1);
    bencher.bench(|| {
        let epoch = epoch.fetch_add(1, Ordering::Relaxed);
        installation.decide(usize::try_from(epoch).unwrap_or_default() % TENANTS, epoch)
    });
}
