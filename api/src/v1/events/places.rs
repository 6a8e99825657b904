//! How many streams may be open at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use migrations::store::account::AccountId;

/// Streams of one account.
const OF_ACCOUNT_MAX: usize = 20;
/// Streams in all.
const ALL_MAX: usize = 500;

/// The streams that are open, by account; those of the host's operator together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<BTreeMap<Option<AccountId>, usize>>>);

impl Places {
    /// Takes a place, if there is one.
    pub(crate) fn take(&self, account: Option<AccountId>) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.entry(account).or_default();
        if *own >= OF_ACCOUNT_MAX || all >= ALL_MAX {
            return None;
        }
        *own += 1;
        drop(open);
        Some(Place { places: self.clone(), account })
    }
}

/// A stream's place, given back however it ends.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    account: Option<AccountId>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_so_many_streams_and_gets_its_places_back() {
        let places = Places::default();
        let mut held: Vec<Place> = (0..OF_ACCOUNT_MAX).map(|_| places.take(None).unwrap()).collect();
        assert!(places.take(None).is_none());
        held.pop();
        assert!(places.take(None).is_some());
        held.clear();
        assert!(places.0.lock().unwrap().is_empty());
    }
}
