//! The engine against the rules of the project's semantics page, section by section.

mod support {
    pub(crate) mod builder;
    pub(crate) mod lab;
}
mod rules {
    mod branching;
    mod clearing;
    mod mapping;
    mod retries;
    mod runs;
    mod schedules;
    mod states;
    mod trigger_rules;
}
