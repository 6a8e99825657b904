//! The Executor trait, its implementations, and the attempt supervisor.
