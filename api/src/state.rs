//! What every handler works with.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dags::ids::TenantId;
use migrations::{Db, seal::Sealer};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    bundles::{AnyBundles, Bundles},
    console::{Asset, Console},
    link::Link,
    monitoring::Monitor,
    objects::{AnyObjects, Objects},
    policy::Policies,
    rates::{RateSettings, Rates},
    sign_in::{Guesses, Hasher},
    v1::{
        config::Setting,
        events::{Places, Readings},
    },
};

/// What the API is made of.
pub struct Parts<O, B> {
    /// The database.
    pub db: Db,
    /// Who seals secrets.
    pub sealer: Sealer,
    /// The tenant that this address serves.
    pub tenant: TenantId,
    /// Tells the owner of the tenant's shard that the inbox has something.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Rung (`notify_waiters`) after commits by an owner in the same process: outcomes may be there. Without it they
    /// are found by polling.
    pub settled: Arc<Notify>,
    /// Logs and large results.
    pub objects: O,
    /// Where bundles go that are sent here.
    pub bundles: B,
    /// The slots of `default_pool` if nobody set them, as the engine has it.
    pub default_pool_slots: i32,
    /// How long a request waits for an owner before it is withdrawn; 10 s but in tests.
    pub owner_wait: Duration,
    /// How many requests are answered.
    pub rates: RateSettings,
    /// The files of the web console; none if it isn't there.
    pub console: Vec<Asset>,
    /// Answers how the process is: to everybody whether it is ready, and on the socket what is inside.
    pub monitor: Option<Monitor>,
    /// What the process is set to, for people to read.
    pub config: Vec<Setting>,
}

impl<O, B> fmt::Debug for Parts<O, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// The API, ready to be served.
#[derive(Clone)]
pub struct Api(pub(crate) Arc<State>);

pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) sealer: Sealer,
    pub(crate) tenant: TenantId,
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
    pub(crate) settled: Arc<Notify>,
    pub(crate) objects: Box<dyn AnyObjects>,
    pub(crate) bundles: Box<dyn AnyBundles>,
    pub(crate) default_pool_slots: i32,
    pub(crate) owner_wait: Duration,
    pub(crate) rates: Rates,
    pub(crate) monitor: Option<Monitor>,
    pub(crate) config: Vec<Setting>,
    pub(crate) hasher: Hasher,
    pub(crate) guesses: Guesses,
    pub(crate) policies: Policies,
    /// Whether requests are answered; until then only how the process is.
    pub(crate) started: watch::Sender<bool>,
    pub(crate) places: Places,
    /// What was read of quotas for those who listen.
    pub(crate) quota_readings: Readings,
    pub(crate) console: Console,
    /// The link that signs an author in to their own process, if there is one.
    pub(crate) link: OnceLock<Link>,
    /// Ends answers that would go on for long.
    pub(crate) closing: CancellationToken,
}

impl Api {
    /// How long a request waits for an owner in service.
    pub const OWNER_WAIT: Duration = Duration::from_secs(10);

    /// Puts the parts together. Until [`Api::start`] it answers how the process is and nothing else.
    pub fn new<O: Objects, B: Bundles>(parts: Parts<O, B>) -> Self {
        let Parts {
            db,
            sealer,
            tenant,
            wake,
            settled,
            objects,
            bundles,
            default_pool_slots,
            owner_wait,
            rates,
            console,
            monitor,
            config,
        } = parts;
        Self(Arc::new(State {
            db,
            sealer,
            tenant,
            wake,
            settled,
            objects: Box::new(objects),
            bundles: Box::new(bundles),
            default_pool_slots,
            owner_wait,
            rates: Rates::new(rates),
            monitor,
            config,
            hasher: Hasher::new(),
            guesses: Guesses::default(),
            policies: Policies::default(),
            started: watch::Sender::new(false),
            places: Places::default(),
            quota_readings: Readings::default(),
            console: Console::new(console),
            link: OnceLock::new(),
            closing: CancellationToken::new(),
        }))
    }

    /// The database is there: requests are answered from now on.
    pub fn start(&self) {
        self.0.started.send_replace(true);
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("tenant", &self.0.tenant).finish_non_exhaustive()
    }
}
