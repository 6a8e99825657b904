//! What the pool decides, and why something waits.

use super::spec::{CapKind, Name};

/// In which way a workload fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Inside its tenant's nominal quota.
    Nominal,
    /// On quota that others leave idle.
    Borrow,
}

/// Why a victim may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It is of the same tenant and has a lower priority.
    Priority,
    /// Its tenant borrows what the preemptor's side is guaranteed.
    Reclaim,
    /// Both borrow, and its side has the larger share.
    Fair,
}

/// How much of a victim is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    Whole,
    /// One member beyond its core.
    Member,
}

/// Where a member runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The index of its group.
    pub group: u32,
    /// The flavor.
    pub flavor: Name,
    /// The host.
    pub host: Name,
}

/// What the pool decided about a workload, which `W` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<W> {
    /// It may start there.
    Admit {
        /// Which.
        id: W,
        /// In which way.
        how: How,
        /// Its members: the core in order of groups, then those beyond it.
        places: Vec<Place>,
    },
    /// It will get that place once others have ended.
    Reserve {
        /// Which.
        id: W,
        /// In which way.
        how: How,
        /// The members of its core.
        places: Vec<Place>,
    },
    /// It must end.
    Preempt {
        /// Which.
        id: W,
        /// For whom.
        by: W,
        /// Why.
        rule: Rule,
        /// All of it or one member; the member's number in order of admission, from 1.
        part: (Part, u32),
    },
    /// It has waited too long: what becomes free there is kept for it.
    Hold {
        /// Which.
        id: W,
        /// The members of its core.
        places: Vec<Place>,
    },
    /// Its reservation is given up.
    Drop {
        /// Which.
        id: W,
    },
}

/// What keeps a pending workload from running; the first kinds are looked at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker<W> {
    /// Its tenant is suspended.
    Suspended {
        /// The tenant.
        tenant: Name,
    },
    /// None of its flavors exists, or there is no cluster that has one for each of its groups.
    NoFlavor,
    /// It is larger than a quota ever allows.
    ExceedsQuota(Short),
    /// No set of empty hosts could take it.
    ExceedsCapacity {
        /// Flavors of its first assignment.
        flavors: Vec<Name>,
    },
    /// It names a pool that doesn't exist.
    PoolMissing {
        /// The pool.
        pool: Name,
    },
    /// A cap is reached.
    Cap {
        /// It alone is over the limit, so it can never run.
        never: bool,
        /// What the cap counts over.
        kind: CapKind,
        /// Of which run, DAG, pool, user or group.
        key: Name,
        /// The resource, if the cap is on one.
        resource: Option<Name>,
        /// What is taken.
        used: i64,
        /// What it needs.
        wanted: i64,
        /// The most there may be.
        limit: i64,
    },
    /// Others are being ended for it.
    Victims {
        /// Which.
        of: Vec<W>,
    },
    /// A quota is used up.
    Quota(Short),
    /// Hosts are full.
    Capacity {
        /// The flavor.
        flavor: Name,
        /// The resource.
        resource: Name,
        /// What its members there need.
        wanted: i64,
        /// What is free on all hosts together.
        free: i64,
    },
    /// There is enough in sum, and no host for each member.
    Fragmented {
        /// The flavors.
        flavors: Vec<Name>,
        /// Members of its core.
        members: u32,
    },
    /// What is free is kept for another.
    Reserved {
        /// For whom.
        by: W,
    },
}

/// A quota that doesn't suffice: `used + wanted > limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The tenant or cohort.
    pub node: Name,
    /// The flavor.
    pub flavor: Name,
    /// The resource.
    pub resource: Name,
    /// What its core needs.
    pub wanted: i64,
    /// What is used there.
    pub used: i64,
    /// The most that may be.
    pub limit: i64,
}
