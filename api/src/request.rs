//! The one door to the engine, from this side: put a request in, wake the owner, wait for what becomes of it.

use std::time::Duration;

use engine::command::Command;
use migrations::store::inbox::{self, Progress, Ticket};
use serde_json::Value;

use crate::{access::Permit, error::Error, trace};

/// The first wait between two looks; doubled up to [`LOOK_MAX`].
const LOOK_MIN: Duration = Duration::from_millis(1);
/// The longest wait between two looks.
const LOOK_MAX: Duration = Duration::from_millis(50);

impl Permit {
    /// Has the engine do something, and says what it answered.
    pub(crate) async fn request(&self, command: Command) -> Result<Value, Error> {
        self.request_once(command, None).await
    }

    /// The same; with a key, the same request again is answered with the first one's outcome.
    pub(crate) async fn request_once(&self, command: Command, key: Option<&str>) -> Result<Value, Error> {
        let since = trace::now();
        let ticket = inbox::insert(self.db(), self.scope, &self.actor, &command, key).await?;
        (self.state.wake)();
        let outcome = self.settle(&ticket).await;
        trace::waited(ticket.id, since);
        outcome
    }

    /// Waits until a request has its outcome, or takes it back.
    async fn settle(&self, ticket: &Ticket) -> Result<Value, Error> {
        let waited = tokio::time::timeout(self.state.owner_wait, self.outcome(ticket.id)).await;
        if let Ok(outcome) = waited {
            return outcome;
        }
        // A request that was put in before has somebody else who waits for it, so it isn't ours to take back.
        if ticket.new && inbox::withdraw(self.db(), self.scope, ticket.id).await? {
            tracing::warn!(inbox.id = ticket.id, "nobody owns the shard: a request was withdrawn");
            return Err(Error::NoOwner);
        }
        if !ticket.new && inbox::progress(self.db(), self.scope, ticket.id).await? == Progress::Waiting {
            return Err(Error::NoOwner);
        }
        // It was taken: it happens, whatever we say.
        self.outcome(ticket.id).await
    }

    async fn outcome(&self, id: i64) -> Result<Value, Error> {
        let mut look = LOOK_MIN;
        loop {
            let settled = self.state.settled.notified();
            tokio::pin!(settled);
            // Listens before it looks: what is settled in between isn't missed.
            settled.as_mut().enable();
            match inbox::progress(self.db(), self.scope, id).await? {
                Progress::Taken { outcome, .. } => return outcome.map_err(Error::Refused),
                Progress::Gone => {
                    return Err(Error::Internal(format!(
                        "request {id} was withdrawn while it was waited for"
                    )));
                }
                Progress::Waiting => {}
            }
            if tokio::time::timeout(look, settled).await.is_err() {
                look = (look * 2).min(LOOK_MAX);
            }
        }
    }
}
