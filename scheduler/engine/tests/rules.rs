//! The engine against the rules of the project's semantics page, section by section.

mod support {
    pub(crate) mod builder;
    pub(crate) mod lab;
}
mod rules {
    mod states;
}
