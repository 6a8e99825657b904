//! What crosses crates: end to end, conformance, chaos and load tests.
