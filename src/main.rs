//! The `updraft` binary: arguments, configuration, wiring, nothing else.

fn main() {}
