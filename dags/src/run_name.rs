//! The names that runs get by themselves, as Airflow forms them: `scheduled__2026-01-01T00:00:00+00:00`.
//!
//! The instant is the run's `run_after`, also for interval timetables, whose logical date is earlier. A run without a
//! logical date gets eight letters more, because several such runs may be due at the same instant.

use sha2::{Digest as _, Sha256};

use crate::{ids::RunName, time::Timestamp};

/// What made a run.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RunType {
    /// The schedule.
    Scheduled,
    /// A person, a client of the API or another DAG.
    Manual,
    /// A backfill.
    Backfill,
    /// Asset events.
    AssetTriggered,
}

impl RunType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::Manual, Self::Backfill, Self::AssetTriggered];

    /// The word that the API and run names use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Manual => "manual",
            Self::Backfill => "backfill",
            Self::AssetTriggered => "asset_triggered",
        }
    }

    /// The type of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl std::fmt::Display for RunType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a run whose creator gave none.
pub fn run_name(kind: RunType, logical_date: Option<Timestamp>, run_after: Timestamp) -> RunName {
    run_name_nth(kind, logical_date, run_after, 0)
}

/// As [`run_name`], for a caller that found names 0 to `nth - 1` taken. Only names without a logical date vary with
/// `nth`: two runs of one logical date aren't allowed anyhow.
pub fn run_name_nth(
    kind: RunType,
    logical_date: Option<Timestamp>,
    run_after: Timestamp,
    nth: u32,
) -> RunName {
    let mut name = format!("{kind}__{}", run_after.airflow());
    if logical_date.is_none() {
        name.push('_');
        name.push_str(&letters(kind, run_after, nth));
    }
    RunName::parse(&name).expect("invariant: a type and an instant have only characters of the grammar")
}

/// Airflow draws these letters by chance; we derive them, so that a replay gives the same names.
fn letters(kind: RunType, run_after: Timestamp, nth: u32) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut hash = Sha256::new();
    hash.update(kind.as_str());
    hash.update(run_after.0.to_be_bytes());
    hash.update(nth.to_be_bytes());
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_airflows() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let name = |kind, logical: Option<&str>, run_after| {
            run_name(kind, logical.map(at), at(run_after)).to_string()
        };
        let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00.5Z");
        assert_eq!(name(RunType::Scheduled, Some(start), start), "scheduled__2026-01-01T00:00:00+00:00");
        assert_eq!(name(RunType::Backfill, Some(start), end), "backfill__2026-01-02T00:00:00.500000+00:00");
        insta::assert_snapshot!(name(RunType::AssetTriggered, None, end), @"asset_triggered__2026-01-02T00:00:00.500000+00:00_dwYAwfzT");
        assert_eq!(name(RunType::Manual, None, end), name(RunType::Manual, None, end));
        assert_ne!(
            run_name_nth(RunType::Manual, None, at(end), 1),
            run_name_nth(RunType::Manual, None, at(end), 0)
        );
        for kind in RunType::ALL {
            assert_eq!(RunType::parse(kind.as_str()), Some(kind));
        }
    }
}
