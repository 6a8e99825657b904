//! The journal's task: commits and reads, one after the other.

use std::sync::Arc;

use dags::{ids::WorkerId, time::Span};
use engine::{
    driver::Input,
    journal::{Commit, Inbox, Journal, Load},
    rows::Batch,
};
use tokio::sync::mpsc;

use crate::{clock, desk::chain, meters::CommitMeters, patience::Patience, traces, wait::Wait};

/// Requests that are read at once.
pub(crate) const REQUESTS_AT_ONCE: usize = 256;

/// What the journal's task is asked.
#[derive(Debug)]
pub(crate) enum Errand {
    Commit(Arc<Batch>),
    Position,
    Load(Load),
    Inbox(Vec<i64>),
}

/// What comes back.
#[derive(Debug)]
pub(crate) enum Event {
    Input(Input),
    Inbox(Inbox),
    LookedUp(WorkerId, Option<Input>),
}

/// Reads until it works: a database that is away comes back, or the lease runs out and the shell is cancelled.
macro_rules! until_ok {
    ($read:expr, $events:expr) => {{
        let mut wait = Wait::new();
        loop {
            match $read.await {
                Ok(value) => break value,
                Err(_) if $events.is_closed() => return,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "failed to read from the database; trying again");
                    wait.pass().await;
                }
            }
        }
    }};
}

/// Does the journal's errands one after the other, since each commit follows the one before.
pub(crate) async fn run_errands<J: Journal>(
    mut journal: J,
    mut errands: mpsc::UnboundedReceiver<Errand>,
    events: mpsc::Sender<Event>,
) {
    let meters = CommitMeters::new();
    let mut trouble = Patience::new(Span::ZERO, Span::ZERO);
    while let Some(errand) = errands.recv().await {
        let event = match errand {
            Errand::Commit(batch) => {
                let (began, since) = (clock::monotonic(), clock::now());
                let outcome = journal.commit(&batch).await;
                let now = clock::now();
                meters.committed(&batch, &outcome, began.elapsed(), now);
                match &outcome {
                    Commit::Done => {
                        traces::committed(&batch, since, now);
                        if trouble.came_back() {
                            tracing::info!(batch = batch.number, "commits work again");
                        }
                    }
                    Commit::Failed(why) | Commit::Unknown(why) if trouble.is_news(why) => {
                        tracing::error!(batch = batch.number, error = why, "a commit failed; trying again");
                    }
                    Commit::Failed(_) | Commit::Unknown(_) | Commit::Fenced | Commit::Conflict(_) => {}
                }
                Event::Input(Input::Committed(outcome))
            }
            Errand::Position => Event::Input(Input::Position(until_ok!(journal.position(), events))),
            Errand::Load(load) => {
                let loaded = until_ok!(journal.load(load.clone()), events);
                Event::Input(Input::Loaded(Box::new(loaded)))
            }
            Errand::Inbox(taken) => Event::Inbox(until_ok!(journal.inbox(&taken, REQUESTS_AT_ONCE), events)),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}
