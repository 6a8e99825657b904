//! What roles allow. casbin decides; its strings exist in this file only.
//!
//! A principal's roles in a tenant make a [`RoleSet`]: the rules of these roles and no others, so that a decision costs
//! by what somebody has been given and not by what the installation has. Role sets are kept until the tenant's policy
//! number changes, which every request reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use casbin::{
    CoreApi as _, DefaultModel, Enforcer, Model as _, NullAdapter,
    function_map::{OperatorFunction, dynamic_to_str},
};
use dags::ids::TenantId;
use migrations::{
    Db, TenantScope,
    policy::{Action, Effect, Kind, Pattern, Rule, Visible, fits},
    store::role::{self, RoleId},
};
use uuid::Uuid;

use crate::{error::Error, v1::can::Because};

/// Explicit denial beats permission, and nothing is allowed that no rule allows.
const MODEL: &str = "
[request_definition]
r = kind, act, name, tags
[policy_definition]
p = kinds, acts, objects, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = among(r.kind, p.kinds) && among(r.act, p.acts) && covers(r.name, r.tags, p.objects)
";
/// Stands between words in a text that casbin sees. Names and tags can't have it: it is a control character.
const BETWEEN: char = '\u{1f}';
/// Role sets that are kept.
const KEPT_MAX: usize = 1024;

/// The roles that exist everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuiltIn {
    /// Reads DAGs, runs, assets and pools. Logs, code, results and the audit log are granted apart.
    Viewer,
    /// Also triggers, clears, marks, pauses and backfills; reads code, logs and results.
    Operator,
    /// Also deploys and deletes DAGs and reads variables and connections.
    Author,
    /// Everything inside of one tenant.
    TenantAdmin,
    /// Tenants and accounts, and nothing inside of a tenant.
    PlatformAdmin,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Viewer, Self::Operator, Self::Author, Self::TenantAdmin, Self::PlatformAdmin];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Author => "author",
            Self::TenantAdmin => "tenant_admin",
            Self::PlatformAdmin => "platform_admin",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Its identity, the same in every installation.
    pub const fn id(self) -> RoleId {
        RoleId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0100 + self as u128))
    }

    /// The role of that identity.
    pub fn of(id: RoleId) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.id() == id)
    }

    /// What it allows.
    pub fn rules(self) -> Vec<Rule> {
        use Action::{Change, Create, Delete, Read};
        use Kind::{
            Asset, Audit, Backfill, Code, Connection, Dag, Log, Member, Platform, Pool, Result, Run, Task,
            Variable,
        };
        let rule = |kinds: &[Kind], actions: &[Action]| Rule {
            effect: Effect::Allow,
            kinds: kinds.iter().copied().collect(),
            objects: Pattern::Name("*".to_owned()),
            actions: actions.iter().copied().collect(),
        };
        let viewer = || rule(&[Dag, Run, Task, Backfill, Asset, Pool], &[Read]);
        let operator = || {
            [
                rule(&[Dag, Run, Task, Backfill, Asset, Pool, Code, Log, Result], &[Read]),
                rule(&[Run, Backfill], &[Create, Change]),
                rule(&[Dag, Task], &[Change]),
                rule(&[Asset], &[Create]),
            ]
        };
        match self {
            Self::Viewer => vec![viewer()],
            Self::Operator => operator().into(),
            Self::Author => {
                let mut rules = Vec::from(operator());
                rules.push(rule(&[Dag], &[Create, Delete]));
                rules.push(rule(&[Run], &[Delete]));
                rules.push(rule(&[Variable, Connection], &[Read]));
                rules
            }
            Self::TenantAdmin => vec![rule(
                &[
                    Dag, Code, Run, Task, Log, Result, Backfill, Asset, Pool, Variable, Connection, Audit,
                    Member,
                ],
                &Action::ALL,
            )],
            Self::PlatformAdmin => vec![rule(&[Platform], &Action::ALL)],
        }
    }
}

/// A rule with the role that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced {
    pub(crate) role: String,
    pub(crate) rule: Rule,
}

/// What some roles allow together.
pub(crate) struct RoleSet {
    rules: Vec<Sourced>,
    enforcer: Enforcer,
}

fn joined(words: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = BETWEEN.to_string();
    for word in words {
        text.push_str(word.as_ref());
        text.push(BETWEEN);
    }
    text
}

/// Whether a word is among joined ones.
fn among(word: &str, joined: &str) -> bool {
    joined.split(BETWEEN).any(|one| !one.is_empty() && one == word)
}

fn written(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Name(glob) => format!("name:{glob}"),
        Pattern::Tag(tag) => format!("tag:{tag}"),
    }
}

fn covers(name: &str, tags: &str, objects: &str) -> bool {
    match objects.split_once(':') {
        Some(("name", glob)) => fits(glob, name),
        Some(("tag", tag)) => among(tag, tags),
        _ => false,
    }
}

impl RoleSet {
    /// Puts rules together.
    pub(crate) async fn new(rules: Vec<Sourced>) -> Result<Self, Error> {
        let internal = |error: casbin::Error| Error::Internal(format!("casbin: {error}"));
        let mut model = DefaultModel::from_str(MODEL).await.map_err(internal)?;
        for Sourced { rule, .. } in &rules {
            let effect = match rule.effect {
                Effect::Allow => "allow",
                Effect::Deny => "deny",
            };
            let row = vec![
                joined(rule.kinds.iter().map(|kind| kind.as_str())),
                joined(rule.actions.iter().map(|action| action.as_str())),
                written(&rule.objects),
                effect.to_owned(),
            ];
            model.add_policy("p", "p", row);
        }
        let mut enforcer = Enforcer::new_raw(model, NullAdapter).await.map_err(internal)?;
        enforcer.add_function(
            "among",
            OperatorFunction::Arg2(|word, words| {
                among(&dynamic_to_str(&word), &dynamic_to_str(&words)).into()
            }),
        );
        enforcer.add_function(
            "covers",
            OperatorFunction::Arg3(|name, tags, objects| {
                covers(&dynamic_to_str(&name), &dynamic_to_str(&tags), &dynamic_to_str(&objects)).into()
            }),
        );
        Ok(Self { rules, enforcer })
    }

    /// The rules with the roles that they come from.
    pub(crate) fn sourced(&self) -> Vec<Because> {
        let because = |Sourced { role, rule }: &Sourced| Because { role: role.clone(), rule: rule.clone() };
        self.rules.iter().map(because).collect()
    }

    /// Whether that may be done with an object of that name, which belongs to a DAG with those tags. An error is a no.
    pub(crate) fn may(&self, kind: Kind, action: Action, name: &str, tags: &BTreeSet<String>) -> bool {
        // casbin takes an empty policy for a wish, not for a denial.
        if self.rules.is_empty() {
            return false;
        }
        let request = (kind.as_str(), action.as_str(), name, joined(tags.iter()));
        match self.enforcer.enforce(request) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, ?kind, ?action, "a decision failed, so the answer is no");
                false
            }
        }
    }

    /// Which objects of a kind something may be done with; none if there is no rule that allows it for any.
    pub(crate) fn visible(&self, kind: Kind, action: Action) -> Option<Visible> {
        let mut visible = Visible::default();
        for Sourced { rule, .. } in &self.rules {
            if rule.kinds.contains(&kind) && rule.actions.contains(&action) {
                let set = match rule.effect {
                    Effect::Allow => &mut visible.allow,
                    Effect::Deny => &mut visible.deny,
                };
                set.insert(rule.objects.clone());
            }
        }
        (!visible.allow.is_empty()).then_some(visible)
    }

    /// The rules that decide about it: those that deny if there are any, else those that allow.
    pub(crate) fn reasons(
        &self,
        kind: Kind,
        action: Action,
        name: &str,
        tags: &BTreeSet<String>,
    ) -> Vec<&Sourced> {
        let matching: Vec<&Sourced> = self
            .rules
            .iter()
            .filter(|Sourced { rule, .. }| {
                rule.kinds.contains(&kind)
                    && rule.actions.contains(&action)
                    && rule.objects.covers(name, tags)
            })
            .collect();
        let denying: Vec<&Sourced> =
            matching.iter().copied().filter(|sourced| sourced.rule.effect == Effect::Deny).collect();
        if denying.is_empty() { matching } else { denying }
    }

    /// Whether a decision of that kind depends on a DAG's tags.
    pub(crate) fn asks_for_tags(&self) -> bool {
        self.rules.iter().any(|Sourced { rule, .. }| matches!(rule.objects, Pattern::Tag(_)))
    }

    /// Whether everything that a rule gives is given here as well, on the whole: for granting to others.
    pub(crate) fn contains(&self, rule: &Rule) -> bool {
        rule.effect == Effect::Deny
            || rule.kinds.iter().all(|kind| {
                rule.actions
                    .iter()
                    .all(|action| self.visible(*kind, *action).is_some_and(|visible| visible.is_all()))
            })
    }
}

/// What a role set is kept under. Built-in roles are the same in every tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    roles: BTreeSet<RoleId>,
    custom: Option<(TenantId, i64)>,
}

/// The role sets that were asked for lately.
#[derive(Default)]
pub(crate) struct Policies(Mutex<BTreeMap<Key, Arc<RoleSet>>>);

impl Policies {
    /// What those roles allow in a tenant whose policy has that number.
    pub(crate) async fn of(
        &self,
        db: &Db,
        scope: TenantScope,
        epoch: i64,
        roles: &BTreeSet<RoleId>,
    ) -> Result<Arc<RoleSet>, Error> {
        let custom: BTreeSet<RoleId> =
            roles.iter().copied().filter(|role| BuiltIn::of(*role).is_none()).collect();
        let key =
            Key { roles: roles.clone(), custom: (!custom.is_empty()).then_some((scope.tenant(), epoch)) };
        if let Some(kept) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(kept.clone());
        }
        let mut rules = Vec::new();
        for role in roles.iter().filter_map(|role| BuiltIn::of(*role)) {
            let role_name = role.name().to_owned();
            rules.extend(role.rules().into_iter().map(|rule| Sourced { role: role_name.clone(), rule }));
        }
        if !custom.is_empty() {
            for role in role::some(db, scope, &custom).await? {
                let name = role.name;
                rules.extend(role.rules.into_iter().map(|rule| Sourced { role: name.clone(), rule }));
            }
        }
        let made = Arc::new(RoleSet::new(rules).await?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, made.clone());
        Ok(made)
    }
}

#[cfg(test)]
mod tests;
