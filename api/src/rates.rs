//! How many requests an account and a tenant may make, so that no one of many keeps the others from being answered. Each
//! process counts for itself. An installation with one tenant has nobody to protect, so it has no such limits.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dags::ids::TenantId;
use migrations::{
    Db,
    store::{account::AccountId, tenant},
};
use tokio::time::Instant;

use crate::error::Error;

/// Seconds' worth of requests that may come at once after a pause.
const BURST_S: f64 = 2.0;
/// How long the answer stands whether there are several tenants.
const SEVERAL_FOR: Duration = Duration::from_secs(5);
/// Counts that are kept before those are dropped that are as good as new.
const KEPT_MAX: usize = 10_000;

/// How many requests a second are answered; 0 for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSettings {
    /// Those of one account.
    pub account: u32,
    /// Those about one tenant, whoever makes them.
    pub tenant: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Account(AccountId),
    Tenant(TenantId),
}

/// What is left at some instant.
#[derive(Debug, Clone, Copy)]
struct Left {
    requests: f64,
    at: Instant,
}

impl Left {
    /// What is left by now, at that rate.
    fn by(self, now: Instant, rate: f64) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.requests + since * rate).min(rate * BURST_S)
    }
}

/// What accounts and tenants have left in this process.
#[derive(Debug)]
pub(crate) struct Rates {
    settings: RateSettings,
    left: Mutex<BTreeMap<Whose, Left>>,
    /// Whether there are several tenants, and when that was found.
    several: Mutex<Option<(Instant, bool)>>,
}

impl Rates {
    pub(crate) fn new(settings: RateSettings) -> Self {
        Self { settings, left: Mutex::default(), several: Mutex::default() }
    }

    /// Counts a request of an account.
    pub(crate) async fn of_account(&self, db: &Db, account: AccountId) -> Result<(), Error> {
        self.count(db, Whose::Account(account), self.settings.account).await
    }

    /// Counts a request about a tenant.
    pub(crate) async fn of_tenant(&self, db: &Db, tenant: TenantId) -> Result<(), Error> {
        self.count(db, Whose::Tenant(tenant), self.settings.tenant).await
    }

    async fn count(&self, db: &Db, whose: Whose, rate: u32) -> Result<(), Error> {
        if rate == 0 || !self.are_several(db).await? {
            return Ok(());
        }
        self.take(whose, rate, Instant::now())
    }

    async fn are_several(&self, db: &Db) -> Result<bool, Error> {
        let found = *self.several.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, several)) = found
            && at.elapsed() < SEVERAL_FOR
        {
            return Ok(several);
        }
        let several = tenant::are_several(db).await?;
        *self.several.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), several));
        Ok(several)
    }

    fn take(&self, whose: Whose, rate: u32, now: Instant) -> Result<(), Error> {
        let rate = f64::from(rate);
        let full = rate * BURST_S;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= KEPT_MAX {
            // Whoever has all of it again is as good as one who never asked. A second fills every count by half.
            left.retain(|_, one| now.saturating_duration_since(one.at).as_secs_f64() < BURST_S);
        }
        let one = left.entry(whose).or_insert(Left { requests: full, at: now });
        let requests = one.by(now, rate);
        let may = requests >= 1.0;
        *one = Left { requests: if may { requests - 1.0 } else { requests }, at: now };
        // Below a second there is no shorter word for it than 1.
        if may { Ok(()) } else { Err(Error::TooMany { after_s: ((1.0 - requests) / rate).ceil() as u64 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u128) -> Whose {
        Whose::Tenant(TenantId(uuid::Uuid::from_u128(number)))
    }

    #[test]
    fn a_burst_is_answered_and_then_so_many_a_second() {
        let rates = Rates::new(RateSettings { account: 0, tenant: 10 });
        let mut now = Instant::now();
        let answered = |now| (0..100).filter(|_| rates.take(tenant(1), 10, now).is_ok()).count();
        assert_eq!(answered(now), 20);
        assert_eq!(answered(now), 0);
        now += Duration::from_millis(500);
        assert_eq!(answered(now), 5);
        now += Duration::from_hours(1);
        assert_eq!(answered(now), 20);
        assert!(rates.take(tenant(2), 10, now).is_ok(), "one tenant's requests are none of another's");
        let refused = rates.take(tenant(1), 10, now);
        assert!(matches!(refused, Err(Error::TooMany { after_s: 1 })), "{refused:?}");
    }

    #[test]
    fn a_flood_of_names_costs_no_memory_for_long() {
        let rates = Rates::new(RateSettings { account: 0, tenant: 10 });
        let now = Instant::now();
        for number in 0..KEPT_MAX as u128 {
            rates.take(tenant(number), 10, now).unwrap();
        }
        rates.take(tenant(u128::MAX), 10, now + Duration::from_secs(3)).unwrap();
        assert_eq!(rates.left.lock().unwrap().len(), 1);
    }
}
