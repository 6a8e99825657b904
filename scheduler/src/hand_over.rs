//! Handing a dispatch over to its executor.

use std::collections::BTreeSet;

use dags::time::Span;
use engine::dispatch::{Dispatch, End, Outcome};
use executor::{Executor as _, Work};

use crate::{
    clock,
    context::{self, Wanted},
    desk::{Desk, chain},
    executors::{Executors, Kind},
    facts::Facts,
    say::about,
};

/// The longest wait before something that failed is tried again.
const WAIT_MAX: Span = Span::seconds(5);

/// The members that the executor has already, some of them perhaps from before a restart.
pub(crate) async fn held(executors: &Executors, dispatch: &Dispatch) -> BTreeSet<u32> {
    let Some(executor) = executors.get(&dispatch.executor) else { return BTreeSet::new() };
    let mut wait = Span::millis(50);
    loop {
        match executor.list().await {
            Ok(held) => {
                let ours = held.iter().filter(|held| held.id == dispatch.id);
                return ours.map(|held| held.member).collect();
            }
            Err(error) => {
                about!(warn, dispatch, %error, "an executor doesn't say what it holds");
                clock::sleep(wait).await;
                wait = Span((wait.0 * 2).min(WAIT_MAX.0));
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

/// Hands a dispatch to its executor, member by member, waiting for the database and the executor if need be. An error is
/// that of the members that the executor doesn't hold then.
pub(crate) async fn hand_over<F: Facts>(
    desk: &Desk<F>,
    executors: &Executors,
    dispatch: &Dispatch,
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
        && mock.covers(dispatch)
    {
        return mock.end(dispatch).await.map_err(|error| error.to_string());
    }
    let mut wait = Span::millis(50);
    let built = loop {
        match context::build(&desk.facts, &desk.objects, &desk.policy, Wanted::from(dispatch)).await {
            Ok(built) => break built,
            Err(context::Error::Missing(reason)) => return Err(reason),
            Err(context::Error::Facts(error)) => {
                about!(warn, dispatch, error = %chain(&error), "an attempt waits for the database");
                clock::sleep(wait).await;
                wait = Span((wait.0 * 2).min(WAIT_MAX.0));
            }
        }
    };
    for member in 0..dispatch.members {
        let mut context = built.clone();
        context.member = member;
        let work = Work { dispatch: dispatch.clone(), context };
        let mut wait = Span::millis(50);
        loop {
            match executor.submit(work.clone()).await {
                Ok(()) => break,
                Err(executor::Error::Refused(reason)) => return Err(reason),
                Err(error) => {
                    about!(warn, dispatch, %error, "an attempt waits for its executor");
                    clock::sleep(wait).await;
                    wait = Span((wait.0 * 2).min(WAIT_MAX.0));
                }
            }
        }
    }
    Ok(())
}
