//! The engine against the rules of the project's semantics page, section by section.

mod support {
    pub(crate) mod builder;
    pub(crate) mod lab;
}
mod rules {
    mod assets;
    mod backfills;
    mod branching;
    mod clearing;
    mod mapping;
    mod odds;
    mod past;
    mod pools;
    mod retries;
    mod runs;
    mod schedules;
    mod setup;
    mod states;
    mod trigger_rules;
    mod waiting;
}
