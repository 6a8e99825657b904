//! Handing a dispatch over to its executor.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dags::{
    ids::DispatchId,
    time::{Span, Timestamp},
};
use engine::dispatch::{Dispatch, End, Outcome};
use executor::{Executor as _, Work};
use tokio_util::sync::CancellationToken;

use crate::{
    context::{self, Wanted},
    desk::{Desk, chain},
    executors::{Executors, Kind},
    facts::Facts,
    say::about,
    wait::Wait,
};

/// Dispatches that are being handed over.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<Mutex<BTreeMap<DispatchId, HandOver>>>);

struct HandOver {
    /// The engine's clock when it was let out.
    since: Timestamp,
    called_off: CancellationToken,
}

impl UnderWay {
    /// Notes that a hand-over begins, and says how it can be called off; nothing if one of the same dispatch is still under
    /// way, with which it would race.
    pub(crate) fn begin(&self, dispatch: DispatchId, since: Timestamp) -> Option<CancellationToken> {
        let mut known = self.lock();
        if known.contains_key(&dispatch) {
            return None;
        }
        let called_off = CancellationToken::new();
        known.insert(dispatch, HandOver { since, called_off: called_off.clone() });
        Some(called_off)
    }

    pub(crate) fn end(&self, dispatch: DispatchId) {
        self.lock().remove(&dispatch);
    }

    /// A dispatch is to be ended: its hand-over isn't tried again. What an executor has been told already it is told before
    /// the kill, but an executor that has died since would take it for something new.
    pub(crate) fn call_off(&self, dispatch: DispatchId) {
        if let Some(known) = self.lock().get(&dispatch) {
            known.called_off.cancel();
        }
    }

    /// When the oldest hand-over was let out.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.lock().values().map(|known| known.since).min()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DispatchId, HandOver>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The members that the executor has already, some of them perhaps from before a restart.
pub(crate) async fn held(executors: &Executors, dispatch: &Dispatch) -> BTreeSet<u32> {
    let Some(executor) = executors.get(&dispatch.executor) else { return BTreeSet::new() };
    let mut wait = Wait::new();
    loop {
        match executor.list().await {
            Ok(held) => {
                let ours = held.iter().filter(|held| held.id == dispatch.id);
                return ours.map(|held| held.member).collect();
            }
            Err(error) => {
                about!(warn, dispatch, %error, "an executor doesn't say what it holds");
                wait.pass().await;
            }
        }
    }
}

pub(crate) fn not_started(reason: String) -> End {
    End {
        outcome: Outcome::NotStarted,
        duration: Span::ZERO,
        exit_code: None,
        reason: Some(reason),
        result: None,
        mapped_length: None,
    }
}

/// Hands a dispatch to its executor, member by member, waiting for the database and the executor if need be, until it is
/// called off. An error is that of the members that the executor doesn't hold then.
pub(crate) async fn hand_over<F: Facts>(
    desk: &Desk<F>,
    executors: &Executors,
    dispatch: &Dispatch,
    called_off: &CancellationToken,
) -> Result<(), String> {
    let executor = executors
        .get(&dispatch.executor)
        .ok_or_else(|| format!("there is no executor `{}`", dispatch.executor))?;
    if let Kind::Noop(noop) = executor {
        for member in 0..dispatch.members {
            noop.accept(dispatch.id, member).await.map_err(|error| error.to_string())?;
        }
        return Ok(());
    }
    if let Kind::Mock(mock) = executor
        && let Some(end) = mock.answer(dispatch)
    {
        return mock.end(dispatch, &end).await.map_err(|error| error.to_string());
    }
    let mut wait = Wait::new();
    let built = loop {
        match context::build(&desk.facts, &desk.objects, &desk.policy, Wanted::from(dispatch)).await {
            Ok(built) => break built,
            Err(context::Error::Missing(reason)) => return Err(reason),
            Err(context::Error::Facts(error)) if !error.may_pass() => return Err(chain(&error)),
            Err(context::Error::Facts(error)) => {
                about!(warn, dispatch, error = %chain(&error), "an attempt waits for the database");
                if !wait.pass_unless(called_off).await {
                    return Ok(());
                }
            }
        }
    };
    for member in 0..dispatch.members {
        let mut context = built.clone();
        context.member = member;
        let work = Work { dispatch: dispatch.clone(), context };
        let mut wait = Wait::new();
        loop {
            if called_off.is_cancelled() {
                return Ok(());
            }
            match executor.submit(work.clone()).await {
                Ok(()) => break,
                Err(executor::Error::Refused(reason)) => return Err(reason),
                Err(error) => {
                    about!(warn, dispatch, %error, "an attempt waits for its executor");
                    if !wait.pass_unless(called_off).await {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dags::ids::AttemptId;

    use super::*;

    fn dispatch(n: u32) -> DispatchId {
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().expect("a UUID");
        DispatchId { attempt, n }
    }

    #[test]
    fn a_dispatch_is_under_way_once_and_bounds_what_a_look_around_proves() {
        let (under_way, [first, second]) = (UnderWay::default(), [dispatch(1), dispatch(2)]);
        assert!(under_way.begin(first, Timestamp(7)).is_some());
        assert!(under_way.begin(first, Timestamp(8)).is_none());
        assert!(under_way.begin(second, Timestamp(3)).is_some());
        assert_eq!(under_way.oldest(), Some(Timestamp(3)));
        under_way.end(second);
        assert_eq!(under_way.oldest(), Some(Timestamp(7)));
        under_way.end(first);
        assert_eq!(under_way.oldest(), None);
    }

    #[tokio::test]
    async fn who_waits_to_try_again_hears_at_once_that_the_hand_over_is_called_off() {
        let (under_way, dispatch) = (UnderWay::default(), dispatch(1));
        let called_off = under_way.begin(dispatch, Timestamp(0)).expect("nothing is under way yet");
        under_way.call_off(dispatch);
        assert!(!Wait::new().pass_unless(&called_off).await);
        assert!(under_way.oldest().is_some(), "it is under way until it has ended");
    }
}
