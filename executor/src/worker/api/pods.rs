//! What a pod asks the task API.

use std::time::Duration;

use engine::{
    dispatch::End,
    execution::{Answer, Ending, FORMAT, RunPod, Ticket},
};
use plugins::context::AttemptContext;
use reqwest::Method;
use uuid::Uuid;

use super::{Api, ApiError, retry, retry_for};

/// How long the question may take why a pod is to be ended.
const ENDING_MAX: Duration = Duration::from_secs(3);

impl Api {
    /// Claims the member that the pod was made for.
    pub(crate) async fn run_pod(
        &self,
        claimant: Uuid,
        member: u32,
        ticket: &Ticket,
    ) -> Result<Answer<AttemptContext>, ApiError> {
        let run = RunPod { format: FORMAT, claimant, member, ticket: ticket.clone() };
        retry("ask for the attempt", || async {
            self.json(self.request(Method::POST, "pods/run")?.json(&run)).await
        })
        .await
    }

    /// Says how the member ended.
    pub(crate) async fn put_end(
        &self,
        token: &str,
        member: u32,
        end: &End,
        failing_max: Duration,
    ) -> Result<(), ApiError> {
        let path = format!("attempt/end/{member}");
        retry_for("say how it ended", failing_max, || async {
            self.send(self.for_attempt(Method::PUT, &path, token)?.json(end)).await.map(drop)
        })
        .await
    }

    /// Asks once why the member is to be ended, if it is.
    pub(crate) async fn ending(&self, token: &str, member: u32) -> Result<Option<Ending>, ApiError> {
        let request = self.for_attempt(Method::GET, &format!("attempt/ending/{member}"), token)?;
        self.json(request.timeout(ENDING_MAX)).await
    }
}
