//! Names that people choose and identities that Updraft derives.
//!
//! Names ([`DagId`], [`TaskId`], [`RunName`], ...) are checked once, at the edge, against one published
//! grammar; identities ([`RunId`], [`AttemptId`], ...) are UUIDs derived by hashing a parent and a number,
//! so that the engine needs no randomness and a replay gives the same ids.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The longest name, in bytes, that any id may have.
pub const NAME_BYTES_MAX: usize = 250;

/// Why a text isn't a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text is longer than [`NAME_BYTES_MAX`].
    #[error("is {0} bytes long; at most {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A character outside of the grammar.
    #[error("contains {0:?}; allowed are letters, digits and the characters {1}")]
    Character(char, &'static str),
    /// `.` or `..`, which mean something else as a path.
    #[error("may not be `.` or `..`")]
    Dots,
}

fn check(text: &str, extra: &'static str, shown: &'static str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong(text.len()));
    }
    if text == "." || text == ".." {
        return Err(InvalidName::Dots);
    }
    match text.chars().find(|c| !(c.is_alphanumeric() || extra.contains(*c))) {
        Some(c) => Err(InvalidName::Character(c, shown)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $extra:literal, $shown:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text against the grammar of this kind of name.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                check(text, $extra, $shown)?;
                Ok(Self(text.into()))
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": NAME_BYTES_MAX,
                    "description": concat!("Letters, digits and ", $shown, "."),
                })
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(|e| serde::de::Error::custom(format_args!("{text:?} {e}")))
            }
        }
    };
}

name!(
    /// The name of a DAG, unique within its tenant.
    DagId, "_-.", "`_`, `-` and `.`"
);
name!(
    /// The name of a task, unique within its DAG. Groups don't change it; Airflow's `group.task` fits the grammar.
    TaskId, "_-.", "`_`, `-` and `.`"
);
name!(
    /// The name of a group of tasks, unique within its DAG.
    GroupId, "_-.", "`_`, `-` and `.`"
);
name!(
    /// The name of a run, unique within its DAG, as Airflow forms it
    /// (`scheduled__2026-01-01T00:00:00+00:00`) or as the caller gave it.
    RunName, "_-.:+~ ", "`_`, `-`, `.`, `:`, `+`, `~` and blank"
);
name!(
    /// The name of a pool, unique within its tenant.
    PoolName, "_-.", "`_`, `-` and `.`"
);
name!(
    /// The name of a configured executor, such as `local` or `k8s-prod`.
    ExecutorName, "_-.", "`_`, `-` and `.`"
);

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

identity!(
    /// A tenant: the owner of DAGs, runs, pools, secrets and logs.
    TenantId
);
identity!(
    /// A shard: one tree of cohorts, owned by one scheduler replica at a time.
    ShardId
);
identity!(
    /// A run of a DAG.
    RunId
);
identity!(
    /// One try of a task instance. It is the `id` of a task instance that Airflow's API shows.
    AttemptId
);
identity!(
    /// An alert: one notification about one thing that happened.
    AlertId
);

identity!(
    /// A worker process, from its start to its end: a worker that starts again is another one.
    WorkerId
);

impl TenantId {
    /// The tenant of an installation that has only one.
    pub const DEFAULT: Self = Self(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001));
}

impl ShardId {
    /// The shard of a normal installation, which has one.
    pub const DEFAULT: Self = Self(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0002));
}

/// Derives a UUID (version 8) from a label and parts; each part is preceded by its length, so that no two lists collide.
fn derive(label: &str, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl RunId {
    /// The identity of a run; `created_at` (microseconds, the shard's clock) tells a run from a deleted one of the same name.
    pub fn derive(tenant: TenantId, dag: &DagId, run: &RunName, created_at: i64) -> Self {
        Self(derive(
            "run",
            &[
                tenant.0.as_bytes(),
                dag.as_str().as_bytes(),
                run.as_str().as_bytes(),
                &created_at.to_be_bytes(),
            ],
        ))
    }
}

impl AlertId {
    /// The identity of what a route hears of a cause, which names what happened to the run and when: the same cause twice
    /// is one alert.
    pub fn derive(run: RunId, cause: &str, route: &str) -> Self {
        Self(derive("alert", &[run.0.as_bytes(), cause.as_bytes(), route.as_bytes()]))
    }
}

impl AttemptId {
    /// The identity of try number `try_number` of a task instance.
    pub fn derive(run: RunId, task: &TaskId, map_index: i32, try_number: u32) -> Self {
        Self(derive(
            "attempt",
            &[
                run.0.as_bytes(),
                task.as_str().as_bytes(),
                &map_index.to_be_bytes(),
                &try_number.to_be_bytes(),
            ],
        ))
    }
}

/// One hand-over of an attempt to an executor: the idempotency key and the fence everywhere.
///
/// `n` grows when the attempt resumes after a deferral, is requeued or preempted. Its text form is `<attempt>-<n>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DispatchId {
    /// The attempt that is handed over.
    pub attempt: AttemptId,
    /// Which hand-over of the attempt this is, from 1.
    pub n: u32,
}

/// A text that isn't a dispatch id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a dispatch id: expected `<attempt>-<n>`")]
pub struct InvalidDispatchId(pub String);

impl fmt::Display for DispatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.attempt, self.n)
    }
}

impl fmt::Debug for DispatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for DispatchId {
    type Err = InvalidDispatchId;
    fn from_str(text: &str) -> Result<Self, InvalidDispatchId> {
        let error = || InvalidDispatchId(text.to_owned());
        let (attempt, n) = text.rsplit_once('-').ok_or_else(error)?;
        Ok(Self { attempt: attempt.parse().map_err(|_| error())?, n: n.parse().map_err(|_| error())? })
    }
}

impl TryFrom<String> for DispatchId {
    type Error = InvalidDispatchId;
    fn try_from(text: String) -> Result<Self, InvalidDispatchId> {
        text.parse()
    }
}

impl From<DispatchId> for String {
    fn from(id: DispatchId) -> Self {
        id.to_string()
    }
}

/// The content hash of a DAG's canonical form, `v1:` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DagVersion(pub Arc<str>);

/// The content address of a bundle: 64 hexadecimal digits of SHA-256.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BundleId(pub Arc<str>);

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text!(DagVersion);
text!(BundleId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        assert!(DagId::parse("daily_sales-2.v1").is_ok());
        assert_eq!(DagId::parse("a/b"), Err(InvalidName::Character('/', "`_`, `-` and `.`")));
        assert_eq!(DagId::parse(".."), Err(InvalidName::Dots));
        assert_eq!(DagId::parse(""), Err(InvalidName::Empty));
        assert_eq!(TaskId::parse(&"a".repeat(251)), Err(InvalidName::TooLong(251)));
        assert!(RunName::parse("scheduled__2026-01-01T00:00:00+00:00").is_ok());
    }

    #[test]
    fn identities_depend_on_every_part() {
        let dag = DagId::parse("d").unwrap();
        let run = RunName::parse("r").unwrap();
        let a = RunId::derive(TenantId::DEFAULT, &dag, &run, 1);
        assert_eq!(a, RunId::derive(TenantId::DEFAULT, &dag, &run, 1));
        assert_ne!(a, RunId::derive(TenantId::DEFAULT, &dag, &run, 2));
        let task = TaskId::parse("t").unwrap();
        assert_ne!(AttemptId::derive(a, &task, -1, 1), AttemptId::derive(a, &task, -1, 2));
        assert_ne!(AttemptId::derive(a, &task, -1, 1), AttemptId::derive(a, &task, 0, 1));
    }

    #[test]
    fn a_dispatch_id_survives_its_text_form() {
        let id = DispatchId { attempt: AttemptId(TenantId::DEFAULT.0), n: 3 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("nonsense".parse::<DispatchId>().is_err());
    }
}
