//! What a worker does beside its loop: asks for attempts, fetches bundles, starts, carries logs and results.
//!
//! A job tries until it is done or refused, and is dropped with the worker.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use dags::ids::{BundleId, DispatchId, WorkerId};
use engine::{
    dispatch::{News, Report, ResultRef},
    execution::{Answer, Go, Ticket},
};
use plugins::context::AttemptContext;
use tokio::sync::Mutex;

use super::{
    api::{Api, ApiError},
    runner::Runner,
};
use crate::{Work, contract, log::LogLine};

/// How much of a log is sent at once.
const LOG_BYTES: usize = 64 * 1024;

/// What came of a job.
#[derive(Debug)]
pub(super) enum Done {
    /// The answers about tickets.
    Asked(Vec<(DispatchId, Answer<AttemptContext>)>),
    /// A dispatch was handed over, or can't be for that reason.
    Started(DispatchId, Result<(), String>),
    /// A running member's log was carried so far.
    Logged(DispatchId, u32, u64),
    /// Log and result of a member that has ended are stored; its report as it is to be told.
    Ended(Box<Report>),
    /// Nothing follows.
    Nothing,
}

/// What jobs work with.
#[derive(Debug, Clone)]
pub(super) struct Jobs {
    pub(super) worker: WorkerId,
    pub(super) api: Api,
    pub(super) runner: Runner,
    pub(super) bundles: PathBuf,
    pub(super) results: PathBuf,
    /// One fetch at a time for each bundle.
    pub(super) fetching: Arc<Mutex<BTreeMap<BundleId, Arc<Mutex<()>>>>>,
}

impl Jobs {
    pub(super) async fn ask(self, tickets: Vec<Ticket>) -> Done {
        let ids: Vec<DispatchId> = tickets.iter().map(|ticket| ticket.dispatch).collect();
        let refused =
            |reason: String| ids.iter().map(move |id| (*id, Answer::Missing { reason: reason.clone() }));
        match self.api.run(self.worker, tickets).await {
            Ok(ran) if ran.answers.len() == ids.len() => {
                Done::Asked(ids.iter().copied().zip(ran.answers).collect())
            }
            Ok(_) => {
                Done::Asked(refused("the task API answered about other dispatches".to_owned()).collect())
            }
            // The worker isn't known any more: what it was sent goes to others.
            Err(error) if error.is_gone() => Done::Asked(ids.iter().map(|id| (*id, Answer::Gone)).collect()),
            Err(error) => Done::Asked(refused(error.to_string()).collect()),
        }
    }

    pub(super) async fn start(self, go: Go<AttemptContext>) -> Done {
        let id = go.dispatch.id;
        Done::Started(id, self.try_start(go).await)
    }

    async fn try_start(&self, go: Go<AttemptContext>) -> Result<(), String> {
        let Go { token, dispatch, context } = go;
        let bundle_dir = match self.runner {
            Runner::Local(_) => {
                self.bundle(&token, &dispatch.bundle).await.map_err(|error| error.to_string())?
            }
            Runner::Noop(_) => PathBuf::new(),
        };
        for member in 0..dispatch.members.max(1) {
            let context = AttemptContext { member, bundle_dir: bundle_dir.clone(), ..context.clone() };
            let work = Work { dispatch: dispatch.clone(), context };
            loop {
                match self.runner.submit(work.clone()).await {
                    Ok(()) => break,
                    Err(contract::Error::Unavailable(reason)) => {
                        tracing::warn!(
                            tenant.id = %dispatch.tenant, dag.id = %dispatch.dag_id, run.id = %dispatch.run,
                            task.id = %dispatch.task_id, attempt = %dispatch.id.attempt, dispatch = %dispatch.id,
                            reason, "an attempt waits for the supervisor"
                        );
                        crate::clock::sleep(std::time::Duration::from_millis(200)).await;
                    }
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        Ok(())
    }

    /// The folder of a bundle, fetched if it isn't there.
    async fn bundle(&self, token: &str, bundle: &BundleId) -> Result<PathBuf, ApiError> {
        let plain = !bundle.0.is_empty() && bundle.0.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plain {
            return Err(ApiError::Answer(format!("{bundle:?} is no bundle's address")));
        }
        let folder = self.bundles.join(&*bundle.0);
        if is_there(&folder).await {
            return Ok(folder);
        }
        let turn = self.fetching.lock().await.entry(bundle.clone()).or_default().clone();
        let _turn = turn.lock().await;
        if !is_there(&folder).await {
            let beside = folder.with_extension(format!("{}.part", self.worker));
            let io = |error: std::io::Error| ApiError::Answer(format!("the bundle can't be stored: {error}"));
            if is_there(&beside).await {
                tokio::fs::remove_dir_all(&beside).await.map_err(io)?;
            }
            self.api.bundle(token, bundle, &beside).await?;
            match tokio::fs::rename(&beside, &folder).await {
                Ok(()) => {}
                // Another worker of this folder was quicker, with the same content.
                Err(_) if is_there(&folder).await => {}
                Err(error) => return Err(io(error)),
            }
        }
        self.fetching.lock().await.remove(bundle);
        Ok(folder)
    }

    pub(super) async fn kill(self, kill: engine::dispatch::Kill) -> Done {
        if let Err(error) = self.runner.kill(kill).await {
            tracing::warn!(%error, "a dispatch can't be ended now; its owner asks again");
        }
        Done::Nothing
    }

    pub(super) async fn forget(self, dispatch: DispatchId, member: u32) -> Done {
        if let Err(error) = self.runner.confirm(dispatch, member).await {
            tracing::warn!(attempt = %dispatch.attempt, %dispatch, member, %error, "what an attempt left can't be removed now");
        }
        Done::Nothing
    }

    /// Carries what a running member has written since.
    pub(super) async fn log(self, token: String, dispatch: DispatchId, member: u32, from: u64) -> Done {
        match self.carry_log(&token, dispatch, member, from, false).await {
            Ok(next) => Done::Logged(dispatch, member, next),
            Err(error) => {
                tracing::warn!(attempt = %dispatch.attempt, %dispatch, member, %error, "a piece of a log can't be carried");
                Done::Logged(dispatch, member, from)
            }
        }
    }

    /// Carries the rest of the log and the result of a member that has ended.
    pub(super) async fn end(self, token: Option<String>, mut report: Report, from: u64) -> Done {
        if let Some(token) = token {
            let (dispatch, member) = (report.dispatch, report.member);
            if let Err(error) = self.carry_log(&token, dispatch, member, from, true).await {
                tracing::warn!(attempt = %dispatch.attempt, %dispatch, member, %error, "the rest of a log can't be carried");
            }
            if let Err(error) = self.carry_result(&token, &report).await
                && let News::Ended(end) = &mut report.news
                && !error.is_gone()
            {
                end.outcome = engine::dispatch::Outcome::Failed;
                end.reason = Some(format!("its result can't be stored: {error}"));
                (end.result, end.mapped_length) = (None, None);
            }
        }
        Done::Ended(Box::new(report))
    }

    async fn carry_result(&self, token: &str, report: &Report) -> Result<(), ApiError> {
        let News::Ended(end) = &report.news else { return Ok(()) };
        let Some(ResultRef::Stored { digest, .. }) = &end.result else { return Ok(()) };
        let text = tokio::fs::read(self.results.join(digest)).await;
        let text = text.map_err(|error| ApiError::Answer(format!("it can't be read: {error}")))?;
        let stored = self.api.put_result(token, text).await?;
        if stored == *digest {
            Ok(())
        } else {
            Err(ApiError::Answer(format!("it was stored as {stored}, not as {digest}")))
        }
    }

    async fn carry_log(
        &self,
        token: &str,
        dispatch: DispatchId,
        member: u32,
        from: u64,
        last: bool,
    ) -> Result<u64, ApiError> {
        let mut next = from;
        loop {
            let chunk = match self.runner.logs(dispatch, member, next).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(next),
                Err(error) => return Err(ApiError::Answer(error.to_string())),
            };
            let end = chunk.complete || chunk.next <= next;
            if !chunk.lines.is_empty() || last && end {
                self.put(token, member, next, &chunk.lines, last && end).await?;
            }
            next = chunk.next.max(next);
            if end {
                return Ok(next);
            }
        }
    }

    /// Sends lines in pieces. Each is named by the offset at which it begins.
    async fn put(
        &self,
        token: &str,
        member: u32,
        from: u64,
        lines: &[LogLine],
        last: bool,
    ) -> Result<(), ApiError> {
        let (mut first, mut bytes, mut offset) = (0, 0, from);
        for (n, line) in lines.iter().enumerate() {
            bytes += line.text.len();
            if bytes >= LOG_BYTES && n + 1 < lines.len() {
                self.api.put_log(token, member, offset, &lines[first..=n], false).await?;
                (first, bytes, offset) = (n + 1, 0, lines[n + 1].offset);
            }
        }
        self.api.put_log(token, member, offset, &lines[first..], last).await
    }
}

async fn is_there(folder: &Path) -> bool {
    tokio::fs::try_exists(folder).await.unwrap_or(false)
}
