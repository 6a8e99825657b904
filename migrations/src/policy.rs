//! What a rule of access says, and how a list is cut down to what a rule lets one see. Who has which rule is stored by
//! [`crate::store::role`]; what a rule decides for one object is up to the API.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use sea_orm::{
    ColumnTrait, Condition,
    sea_query::{Expr, ExprTrait as _, SimpleExpr},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::Db;

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;
/// The most rules that one role may have.
pub const RULES_MAX: usize = 200;

/// Kinds of objects that rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A DAG: its settings and its shape.
    Dag,
    /// The source of a DAG.
    Code,
    /// Runs of a DAG.
    Run,
    /// Task instances of a DAG.
    Task,
    /// Logs of a DAG's tasks.
    Log,
    /// Results of a DAG's tasks.
    Result,
    /// Backfills of a DAG.
    Backfill,
    /// Assets and their events.
    Asset,
    /// Pools.
    Pool,
    /// Variables.
    Variable,
    /// Connections, but for their secrets, which nobody can read.
    Connection,
    /// The audit log.
    Audit,
    /// Who belongs to a tenant: grants, groups, roles, service accounts.
    Member,
    /// Tenants themselves, and accounts: for the platform's administrators.
    Platform,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Dag,
        Self::Code,
        Self::Run,
        Self::Task,
        Self::Log,
        Self::Result,
        Self::Backfill,
        Self::Asset,
        Self::Pool,
        Self::Variable,
        Self::Connection,
        Self::Audit,
        Self::Member,
        Self::Platform,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dag => "dag",
            Self::Code => "code",
            Self::Run => "run",
            Self::Task => "task",
            Self::Log => "log",
            Self::Result => "result",
            Self::Backfill => "backfill",
            Self::Asset => "asset",
            Self::Pool => "pool",
            Self::Variable => "variable",
            Self::Connection => "connection",
            Self::Audit => "audit",
            Self::Member => "member",
            Self::Platform => "platform",
        }
    }

    /// The kind that the word names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether its objects belong to a DAG and go by the DAG's name.
    pub const fn of_dag(self) -> bool {
        matches!(
            self,
            Self::Dag | Self::Code | Self::Run | Self::Task | Self::Log | Self::Result | Self::Backfill
        )
    }
}

/// What can be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// See it.
    Read,
    /// Make a new one: a run is triggered, a DAG is deployed, an event is reported.
    Create,
    /// Change it: a DAG is paused, a run or task cleared or marked.
    Change,
    /// Delete it.
    Delete,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Change, Self::Delete];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }

    /// The action that the word names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// Whether a rule gives or takes. What is denied stays denied, whatever else allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Gives.
    Allow,
    /// Takes.
    Deny,
}

/// Which objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Those whose name fits: `*` stands for any text, everything else for itself.
    Name(String),
    /// DAGs that have the tag, and what belongs to them.
    Tag(String),
}

impl Pattern {
    /// Whether it covers an object of that name, and of a DAG with those tags.
    pub fn covers(&self, name: &str, tags: &BTreeSet<String>) -> bool {
        match self {
            Self::Name(glob) => fits(glob, name),
            Self::Tag(tag) => tags.contains(tag),
        }
    }
}

/// One rule of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Whether it gives or takes.
    pub effect: Effect,
    /// The kinds that it is about.
    pub kinds: BTreeSet<Kind>,
    /// Which objects of these kinds.
    pub objects: Pattern,
    /// What may, or may not, be done with them.
    pub actions: BTreeSet<Action>,
}

/// Whether the text fits the glob, in time proportional to both lengths multiplied at worst.
pub fn fits(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if g < glob.len() && glob[g] == b'*' {
            star = Some((g, t));
            g += 1;
        } else if g < glob.len() && glob[g] == text[t] {
            (g, t) = (g + 1, t + 1);
        } else if let Some((star_g, star_t)) = star {
            star = Some((star_g, star_t + 1));
            (g, t) = (star_g + 1, star_t + 1);
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

/// Which objects of one kind somebody may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    /// One of these must cover the object.
    pub allow: BTreeSet<Pattern>,
    /// None of these may.
    pub deny: BTreeSet<Pattern>,
}

impl Visible {
    /// Everything.
    pub fn all() -> Self {
        Self { allow: BTreeSet::from([Pattern::Name("*".to_owned())]), deny: BTreeSet::new() }
    }

    /// Whether nothing is hidden.
    pub fn is_all(&self) -> bool {
        self.deny.is_empty() && self.allow.iter().any(|p| matches!(p, Pattern::Name(glob) if glob == "*"))
    }

    /// Whether it is about tags, so that a DAG's tags must be known.
    pub fn asks_for_tags(&self) -> bool {
        self.allow.iter().chain(&self.deny).any(|pattern| matches!(pattern, Pattern::Tag(_)))
    }

    /// Whether an object of that name, of a DAG with those tags, may be seen.
    pub fn covers(&self, name: &str, tags: &BTreeSet<String>) -> bool {
        self.allow.iter().any(|p| p.covers(name, tags)) && !self.deny.iter().any(|p| p.covers(name, tags))
    }

    /// The same as a predicate on the column that has the name; tags are those of the tenant's DAG of that name.
    pub(crate) fn condition(&self, db: &Db, tenant: Uuid, name: impl ColumnTrait) -> Condition {
        if self.is_all() {
            return Condition::all();
        }
        let one = |pattern: &Pattern| match pattern {
            Pattern::Name(glob) => glob_predicate(db, name, glob),
            Pattern::Tag(tag) => tag_predicate(db, tenant, name, tag),
        };
        let any = |patterns: &BTreeSet<Pattern>| {
            patterns.iter().fold(Condition::any(), |any, pattern| any.add(one(pattern)))
        };
        // An empty "any" would be true.
        if self.allow.is_empty() {
            return Condition::all().add(Expr::val(1).eq(0));
        }
        let allowed = Condition::all().add(any(&self.allow));
        if self.deny.is_empty() { allowed } else { allowed.add(any(&self.deny).not()) }
    }
}

fn glob_predicate(db: &Db, name: impl ColumnTrait, glob: &str) -> SimpleExpr {
    let column = Expr::col(name.as_column_ref());
    match db {
        // LIKE of SQLite takes `A` for `a`; GLOB doesn't, and its other wild cards are quoted.
        Db::Sqlite(_) => {
            let quoted: String = glob
                .chars()
                .map(|c| if matches!(c, '?' | '[') { format!("[{c}]") } else { c.to_string() })
                .collect();
            Expr::cust_with_exprs("? GLOB ?", [column, Expr::val(quoted)])
        }
        Db::Postgres(_) => {
            let quoted = glob.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_").replace('*', "%");
            Expr::cust_with_exprs("$1 LIKE $2", [column, Expr::val(quoted)])
        }
    }
}

fn tag_predicate(db: &Db, tenant: Uuid, name: impl ColumnTrait, tag: &str) -> SimpleExpr {
    let column = Expr::col(name.as_column_ref());
    // PostgreSQL reads `json`, not `jsonb`, which refuses a NUL somewhere else in the model.
    let text = db.pick(
        "? IN (SELECT g.dag_id FROM dag AS g JOIN dag_version AS v ON v.tenant_id = g.tenant_id AND v.dag_id = g.dag_id
          AND v.version = g.version, json_each(v.model, '$.tags') AS tag WHERE g.tenant_id = ? AND tag.value = ?)",
        "$1 IN (SELECT g.dag_id FROM dag AS g JOIN dag_version AS v ON v.tenant_id = g.tenant_id AND v.dag_id = g.dag_id
          AND v.version = g.version, json_array_elements_text(v.model::json -> 'tags') AS tag
          WHERE g.tenant_id = $2 AND tag = $3)",
    );
    Expr::cust_with_exprs(text, [column, Expr::val(tenant), Expr::val(tag)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a glob means, said in the shortest way.
    fn plain(glob: &[u8], text: &[u8]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| plain(rest, &text[skip..])),
            Some((byte, rest)) => text.first() == Some(byte) && plain(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn globs_mean_what_they_say(glob in "[ab*]{0,8}", text in "[ab]{0,12}") {
            prop_assert_eq!(fits(&glob, &text), plain(glob.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }
}
