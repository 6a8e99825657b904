//! How often a password may be guessed: a growing delay per account and address, and so many failures a minute per
//! address and per network. Nothing here locks an account for those who come from elsewhere.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::error::Error;

/// Failures of one account from one address before delays begin.
const FREE: u32 = 5;
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_mins(15);
/// Failures a minute from one address.
const ADDRESS_MAX: u32 = 10;
/// Failures a minute from one network: /24, or /48 of IPv6.
const NETWORK_MAX: u32 = 100;
const MINUTE: Duration = Duration::from_mins(1);
/// Buckets that are kept; the oldest give way.
const KEPT_MAX: usize = 50_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Account(String, Option<IpAddr>),
    Address(IpAddr),
    Network(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    failures: u32,
    since: Instant,
    last: Instant,
}

/// What was guessed wrong lately, in this process.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<BTreeMap<Key, Bucket>>);

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => network(v4.into()),
            None => {
                let [a, b, c, ..] = v6.segments();
                IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
            }
        },
    }
}

/// How long after the last failure the next guess may come.
fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1 << more.min(10)).min(DELAY_MAX),
    }
}

impl Guesses {
    /// Whether a guess may be made now.
    pub(crate) fn may_try(&self, name: &str, from: Option<IpAddr>, now: Instant) -> Result<(), Error> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = Key::Account(name.to_owned(), from);
        let mut wait = buckets.get(&account).map_or(Duration::ZERO, |bucket| {
            delay(bucket.failures).saturating_sub(now.duration_since(bucket.last))
        });
        if let Some(address) = from {
            let limits =
                [(Key::Address(address), ADDRESS_MAX), (Key::Network(network(address)), NETWORK_MAX)];
            for (key, max) in limits {
                if let Some(bucket) = buckets.get(&key).filter(|bucket| bucket.failures >= max) {
                    wait = wait.max(MINUTE.saturating_sub(now.duration_since(bucket.since)));
                }
            }
        }
        if wait.is_zero() { Ok(()) } else { Err(Error::TooMany { after_s: wait.as_secs() + 1 }) }
    }

    /// A guess was wrong.
    pub(crate) fn failed(&self, name: &str, from: Option<IpAddr>, now: Instant) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEPT_MAX {
            buckets.retain(|_, bucket| now.duration_since(bucket.last) < MINUTE);
        }
        let mut keys = vec![(Key::Account(name.to_owned(), from), DELAY_MAX)];
        if let Some(address) = from {
            keys.push((Key::Address(address), MINUTE));
            keys.push((Key::Network(network(address)), MINUTE));
        }
        for (key, window) in keys {
            // A flood of names must not cost memory without bound: those that are known go on being counted.
            if buckets.len() >= KEPT_MAX && !buckets.contains_key(&key) {
                continue;
            }
            let bucket = buckets.entry(key).or_insert(Bucket { failures: 0, since: now, last: now });
            if now.duration_since(bucket.since) >= window
                && now.duration_since(bucket.last) >= MINUTE.min(window)
            {
                *bucket = Bucket { failures: 0, since: now, last: now };
            }
            bucket.failures = bucket.failures.saturating_add(1);
            bucket.last = now;
        }
    }

    /// The right password forgives earlier guesses of the same account from the same address.
    pub(crate) fn succeeded(&self, name: &str, from: Option<IpAddr>) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.remove(&Key::Account(name.to_owned(), from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_gets_slower_and_only_from_where_it_comes() {
        let guesses = Guesses::default();
        let mut now = Instant::now();
        let stranger = Some(IpAddr::from([192, 0, 2, 7]));
        let owner = Some(IpAddr::from([198, 51, 100, 1]));
        for _ in 0..FREE {
            guesses.may_try("ana", stranger, now).unwrap();
            guesses.failed("ana", stranger, now);
        }
        assert!(guesses.may_try("ana", stranger, now).is_err());
        guesses.may_try("ana", owner, now).unwrap();
        guesses.may_try("bo", stranger, now).unwrap();
        now += Duration::from_secs(2);
        guesses.may_try("ana", stranger, now).unwrap();
        guesses.failed("ana", stranger, now);
        now += Duration::from_secs(1);
        assert!(guesses.may_try("ana", stranger, now).is_err());
        guesses.succeeded("ana", stranger);
        guesses.may_try("ana", stranger, now).unwrap();
    }

    #[test]
    fn an_address_and_its_network_have_a_limit_a_minute() {
        let guesses = Guesses::default();
        let mut now = Instant::now();
        let at = |last| Some(IpAddr::from([192, 0, 2, last]));
        for n in 0..ADDRESS_MAX {
            guesses.failed(&format!("user{n}"), at(1), now);
        }
        assert!(guesses.may_try("other", at(1), now).is_err());
        guesses.may_try("other", at(2), now).unwrap();
        for n in 0..NETWORK_MAX {
            guesses.failed(&format!("more{n}"), at(10 + (n % 100) as u8), now);
        }
        assert!(guesses.may_try("other", at(2), now).is_err());
        guesses.may_try("other", Some(IpAddr::from([192, 0, 3, 1])), now).unwrap();
        now += MINUTE;
        guesses.may_try("other", at(2), now).unwrap();
    }

    #[test]
    fn delays_grow_up_to_a_quarter_of_an_hour() {
        assert_eq!(delay(4), Duration::ZERO);
        assert_eq!(delay(5), Duration::from_secs(1));
        assert_eq!(delay(u32::MAX), DELAY_MAX);
    }
}
