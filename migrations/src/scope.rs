//! Whose rows a query may see. Nothing reads tenant data without one of these.

use dags::ids::{ShardId, TenantId};

/// One tenant: everything that serves a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantScope {
    tenant: TenantId,
}

impl TenantScope {
    /// The scope of that tenant. The caller has checked that the actor may act in it.
    pub const fn new(tenant: TenantId) -> Self {
        Self { tenant }
    }
    /// The tenant.
    pub const fn tenant(self) -> TenantId {
        self.tenant
    }
}

/// All tenants of a shard: the driver, recovery and retention. Made from a held lease, or for an operator's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardScope {
    shard: ShardId,
}

impl ShardScope {
    pub(crate) const fn new(shard: ShardId) -> Self {
        Self { shard }
    }
    /// For a command of whoever operates the service and has its database.
    pub const fn maintenance(shard: ShardId) -> Self {
        Self { shard }
    }
    /// The shard.
    pub const fn shard(self) -> ShardId {
        self.shard
    }
}
