//! The shell around the engine's driver: leases, inbox, timers, bundles, repair.
