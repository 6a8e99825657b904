//! How quotas are used, in a stream of events.

use std::{collections::BTreeMap, time::Duration};

use dags::ids::TenantId;
use schemars::JsonSchema;
use serde_json::json;
use tokio::time::Instant;

use super::told;
use crate::{
    access::Permit,
    error::Error,
    v1::quotas::{self, QuotaView},
};

/// The least time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(500);
/// The longest, while nothing changes.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// How long an answer is waited for: whatever else is to be told waits as well.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What was read last, by tenant, none for everybody's: all who listen look at the same.
#[derive(Default)]
pub(crate) struct Readings(tokio::sync::Mutex<BTreeMap<Option<TenantId>, Reading>>);

/// When it was read, and what.
type Reading = (Instant, Vec<QuotaView>);

impl Readings {
    async fn read(&self, whose: Whose, may: &Permit) -> Result<Option<Vec<QuotaView>>, Error> {
        let key = match whose {
            Whose::Own => Some(may.scope.tenant()),
            Whose::All => None,
        };
        let mut known = self.0.lock().await;
        known.retain(|_, (at, _)| at.elapsed() < LOOK_MAX);
        if let Some((at, found)) = known.get(&key)
            && at.elapsed() < LOOK_MIN
        {
            return Ok(Some(found.clone()));
        }
        let look = async {
            match whose {
                Whose::Own => quotas::own(may).await,
                Whose::All => quotas::all(may).await,
            }
        };
        match tokio::time::timeout(ANSWER_MAX, look).await {
            Ok(Ok(found)) => {
                known.insert(key, (Instant::now(), found.clone()));
                Ok(Some(found))
            }
            // The engine is asked again later.
            Ok(Err(Error::NoOwner)) | Err(_) => Ok(None),
            Ok(Err(error)) => Err(error),
        }
    }
}

/// Whose quotas are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Whose {
    /// The tenant's own, and those of the cohorts above it.
    Own,
    /// Everybody's, for who administers the platform.
    All,
}

impl Whose {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "own" => Some(Self::Own),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// What a listener was told of quotas.
pub(super) struct Quotas {
    whose: Whose,
    told: Option<Vec<QuotaView>>,
    next: Instant,
    wait: Duration,
}

impl Quotas {
    pub(super) fn new(whose: Whose) -> Self {
        Self { whose, told: None, next: Instant::now(), wait: LOOK_MIN }
    }

    /// Looks soon: something happened.
    pub(super) fn hurry(&mut self) {
        self.wait = LOOK_MIN;
        self.next = self.next.min(Instant::now() + LOOK_MIN);
    }

    /// The quotas, if they are used otherwise than was told last. An engine that doesn't answer is asked again later.
    pub(super) async fn piece(&mut self, may: &Permit) -> Result<Vec<u8>, Error> {
        if Instant::now() < self.next {
            return Ok(Vec::new());
        }
        let found = may.state.quota_readings.read(self.whose, may).await?;
        let changed = found.is_some() && found != self.told;
        self.wait = if changed { LOOK_MIN } else { (self.wait * 2).min(LOOK_MAX) };
        self.next = Instant::now() + self.wait;
        if !changed {
            return Ok(Vec::new());
        }
        self.told = found;
        Ok(told("quotas", None, &json!({ "items": self.told })))
    }
}
