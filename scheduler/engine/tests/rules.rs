//! The engine against the rules of the project's semantics page, section by section.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "support/builder.rs"]
mod builder;
#[path = "support/lab.rs"]
mod lab;

#[path = "rules/assets.rs"]
mod assets;
#[path = "rules/backfills.rs"]
mod backfills;
#[path = "rules/branching.rs"]
mod branching;
#[path = "rules/chains.rs"]
mod chains;
#[path = "rules/clearing.rs"]
mod clearing;
#[path = "rules/explaining.rs"]
mod explaining;
#[path = "rules/fleets.rs"]
mod fleets;
#[path = "rules/gangs.rs"]
mod gangs;
#[path = "rules/inputs.rs"]
mod inputs;
#[path = "rules/mapping.rs"]
mod mapping;
#[path = "rules/odds.rs"]
mod odds;
#[path = "rules/past.rs"]
mod past;
#[path = "rules/pools.rs"]
mod pools;
#[path = "rules/quarantine.rs"]
mod quarantine;
#[path = "rules/quotas.rs"]
mod quotas;
#[path = "rules/repairs.rs"]
mod repairs;
#[path = "rules/retirement.rs"]
mod retirement;
#[path = "rules/retries.rs"]
mod retries;
#[path = "rules/runs.rs"]
mod runs;
#[path = "rules/schedules.rs"]
mod schedules;
#[path = "rules/setup.rs"]
mod setup;
#[path = "rules/states.rs"]
mod states;
#[path = "rules/trigger_rules.rs"]
mod trigger_rules;
#[path = "rules/waiting.rs"]
mod waiting;
