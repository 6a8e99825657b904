//! What a worker does beside its loop: asks for attempts, starts them, carries logs and results.
//!
//! A job tries until it is done, refused or has tried for too long, and is dropped with the worker.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use dags::ids::{DispatchId, WorkerId};
use engine::{
    dispatch::{News, Outcome, Report, ResultRef},
    execution::{Answer, Go, Ticket},
};
use plugins::context::AttemptContext;
use tokio_util::sync::CancellationToken;

use super::{
    api::{Api, ApiError},
    bundles::Bundles,
    runner::Runner,
};
use crate::{Work, clock, contract, log::LogLine};

/// How much of a log is sent at once, as JSON; the service takes four times as much.
const LOG_BYTES: usize = 256 * 1024;
/// How long the service may fail to store a piece of a log: of an attempt that runs, which is looked at again, and of one that
/// has ended.
const LOG_MAX: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(1));
/// How long the service may fail to store a result. Its attempt can't be a success without it.
const RESULT_MAX: Duration = Duration::from_mins(10);
/// How long the supervisor may be away before the machine counts as unable to run anything.
const SUPERVISOR_MAX: Duration = Duration::from_secs(30);
/// Between two tries to reach it.
const SUPERVISOR_AGAIN: Duration = Duration::from_millis(200);

/// What came of a job.
#[derive(Debug)]
pub(super) enum Done {
    /// The answers about tickets.
    Asked(Vec<(DispatchId, Answer<AttemptContext>)>),
    /// The service doesn't answer about these tickets, nor about any others.
    Refused(Vec<DispatchId>, ApiError),
    /// The worker was looked at: why it may be one no more, if it was said so.
    Looked(Option<ApiError>),
    /// It is time to ask about a ticket again.
    Again(DispatchId),
    /// A dispatch was handed over, or wasn't; what keeps its bundle here.
    Started(DispatchId, Option<Arc<File>>, Result<(), NotStarted>),
    /// A running member's log was carried so far, and may go on.
    Logged { dispatch: DispatchId, member: u32, next: u64, over: bool },
    /// Log and result of a member that has ended are stored; its report as it is to be told.
    Ended(Box<Report>),
    /// This machine can't run anything.
    Unable(String),
    /// Nothing follows.
    Nothing,
}

/// A dispatch of which not all members were handed over.
#[derive(Debug)]
pub(super) struct NotStarted {
    /// So many may have been.
    pub(super) handed: u32,
    pub(super) why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    /// The start was ended.
    Ended,
    /// It can't be started, here or elsewhere.
    Failed(String),
    /// This machine can't start anything.
    Unable(String),
}

/// What jobs work with.
#[derive(Debug, Clone)]
pub(super) struct Jobs {
    pub(super) worker: WorkerId,
    pub(super) api: Api,
    pub(super) runner: Runner,
    pub(super) bundles: Arc<Bundles>,
    pub(super) results: PathBuf,
}

impl Jobs {
    pub(super) async fn ask(self, tickets: Vec<Ticket>) -> Done {
        let ids: Vec<DispatchId> = tickets.iter().map(|ticket| ticket.dispatch).collect();
        match self.api.run(self.worker, tickets).await {
            Ok(ran) if ran.answers.len() == ids.len() => {
                Done::Asked(ids.into_iter().zip(ran.answers).collect())
            }
            Ok(_) => Done::Refused(ids, ApiError::Answer("about other dispatches".to_owned())),
            Err(error) => Done::Refused(ids, error),
        }
    }

    pub(super) async fn look(self) -> Done {
        Done::Looked(self.api.look(self.worker).await.err().filter(ApiError::is_final))
    }

    pub(super) async fn wait(self, dispatch: DispatchId, wait: Duration) -> Done {
        clock::sleep(wait).await;
        Done::Again(dispatch)
    }

    /// Fetches the bundle and hands all members over, unless `end` comes first.
    pub(super) async fn start(self, go: Go<AttemptContext>, end: CancellationToken) -> Done {
        let (id, handed, mut lock) = (go.dispatch.id, AtomicU32::new(0), None);
        let outcome = tokio::select! {
            biased;
            () = end.cancelled() => Err(Why::Ended),
            outcome = self.try_start(go, &mut lock, &handed) => outcome,
        };
        let handed = handed.into_inner();
        Done::Started(id, lock, outcome.map_err(|why| NotStarted { handed, why }))
    }

    async fn try_start(
        &self,
        go: Go<AttemptContext>,
        lock: &mut Option<Arc<File>>,
        handed: &AtomicU32,
    ) -> Result<(), Why> {
        let Go { token, dispatch, context } = go;
        let bundle_dir = match self.runner {
            Runner::Local(_) => {
                let found = self.bundles.get(&self.api, &token, &dispatch.bundle).await;
                let used = found.map_err(|error| Why::Failed(format!("its bundle isn't here: {error}")))?;
                *lock = Some(used.lock);
                used.folder
            }
            Runner::Noop(_) => PathBuf::new(),
        };
        for member in 0..dispatch.members.max(1) {
            let context = AttemptContext { member, bundle_dir: bundle_dir.clone(), ..context.clone() };
            let work = Work { dispatch: dispatch.clone(), context };
            let since = clock::monotonic();
            loop {
                // From here on the supervisor may have it, also if this is dropped.
                handed.store(member + 1, Ordering::Relaxed);
                match self.runner.submit(work.clone()).await {
                    Ok(()) => break,
                    Err(contract::Error::Unavailable(reason)) => {
                        handed.store(member, Ordering::Relaxed);
                        if since.elapsed() >= SUPERVISOR_MAX {
                            return Err(Why::Unable(format!("its supervisor can't be reached: {reason}")));
                        }
                        tracing::warn!(
                            tenant.id = %dispatch.tenant, dag.id = %dispatch.dag_id, run.id = %dispatch.run,
                            task.id = %dispatch.task_id, attempt = %dispatch.id.attempt, dispatch = %dispatch.id,
                            reason, "an attempt waits for the supervisor"
                        );
                        clock::sleep(SUPERVISOR_AGAIN).await;
                    }
                    Err(error) => {
                        handed.store(member, Ordering::Relaxed);
                        return Err(Why::Failed(error.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn kill(self, kill: engine::dispatch::Kill) -> Done {
        let since = clock::monotonic();
        loop {
            match self.runner.kill(kill.clone()).await {
                Ok(()) => return Done::Nothing,
                Err(contract::Error::Unavailable(_)) if since.elapsed() < SUPERVISOR_MAX => {
                    clock::sleep(SUPERVISOR_AGAIN).await;
                }
                Err(contract::Error::Unavailable(reason)) => {
                    return Done::Unable(format!("its supervisor can't be reached: {reason}"));
                }
                Err(error) => {
                    tracing::error!(dispatch = %kill.id, %error, "a dispatch can't be ended");
                    return Done::Nothing;
                }
            }
        }
    }

    pub(super) async fn forget(self, dispatch: DispatchId, member: u32) -> Done {
        if let Err(error) = self.runner.confirm(dispatch, member).await {
            tracing::warn!(attempt = %dispatch.attempt, %dispatch, member, %error, "what an attempt left can't be removed now");
        }
        Done::Nothing
    }

    /// Carries what a running member has written since.
    pub(super) async fn log(self, token: String, dispatch: DispatchId, member: u32, from: u64) -> Done {
        let mut next = from;
        let carried = self.carry_log(&token, dispatch, member, &mut next, false).await;
        if let Err(error) = &carried {
            tracing::warn!(attempt = %dispatch.attempt, %dispatch, member, %error, "a piece of a log can't be carried");
        }
        let over = carried.is_err_and(|error| error.is_refusal());
        Done::Logged { dispatch, member, next, over }
    }

    /// Carries the result and the rest of the log of a member that has ended. Neither holds up its end for ever.
    pub(super) async fn end(self, token: Option<String>, mut report: Report, from: u64) -> Done {
        if let Some(token) = token {
            let (dispatch, member) = (report.dispatch, report.member);
            let stored = self.carry_result(&token, &report).await;
            let mut next = from;
            let logged = self.carry_log(&token, dispatch, member, &mut next, true).await;
            if let News::Ended(end) = &mut report.news {
                if let Err(error) = stored
                    && !error.is_gone()
                {
                    end.outcome = Outcome::Failed;
                    end.reason = Some(format!("its result can't be stored: {error}"));
                    (end.result, end.mapped_length) = (None, None);
                }
                if let Err(error) = logged
                    && !error.is_gone()
                {
                    tracing::warn!(attempt = %dispatch.attempt, %dispatch, member, %error, "the rest of a log is lost");
                    let note = format!("the rest of its log couldn't be stored: {error}");
                    end.reason =
                        Some(end.reason.take().map_or_else(|| note.clone(), |why| format!("{why}; {note}")));
                }
            }
        }
        Done::Ended(Box::new(report))
    }

    async fn carry_result(&self, token: &str, report: &Report) -> Result<(), ApiError> {
        let News::Ended(end) = &report.news else { return Ok(()) };
        let Some(ResultRef::Stored { digest, .. }) = &end.result else { return Ok(()) };
        let text = tokio::fs::read(self.results.join(digest)).await;
        let text = text.map_err(|error| ApiError::Answer(format!("it can't be read: {error}")))?;
        let stored = self.api.put_result(token, text, RESULT_MAX).await?;
        if stored == *digest {
            Ok(())
        } else {
            Err(ApiError::Answer(format!("it was stored as {stored}, not as {digest}")))
        }
    }

    /// Carries a log from `next` on, which grows as pieces of it are stored.
    async fn carry_log(
        &self,
        token: &str,
        dispatch: DispatchId,
        member: u32,
        next: &mut u64,
        last: bool,
    ) -> Result<(), ApiError> {
        loop {
            let chunk = match self.runner.logs(dispatch, member, *next).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(()),
                Err(error) => return Err(ApiError::Answer(error.to_string())),
            };
            let end = chunk.complete || chunk.next <= *next;
            // A log without a line is no log: an attempt that has ended without one said nothing.
            if !chunk.lines.is_empty() || last && end && *next > 0 {
                self.put(token, member, next, &chunk.lines, last && end).await?;
            }
            *next = chunk.next.max(*next);
            if end {
                return Ok(());
            }
        }
    }

    /// Sends lines in pieces. Each is named by the offset at which it begins.
    async fn put(
        &self,
        token: &str,
        member: u32,
        next: &mut u64,
        lines: &[LogLine],
        last: bool,
    ) -> Result<(), ApiError> {
        let most = if last { LOG_MAX.1 } else { LOG_MAX.0 };
        let mut piece = Vec::new();
        for line in lines {
            let before = piece.len();
            serde_json::to_writer(&mut piece, line).map_err(|error| ApiError::Answer(error.to_string()))?;
            piece.push(b'\n');
            if piece.len() > LOG_BYTES && before > 0 {
                let rest = piece.split_off(before);
                let piece = std::mem::replace(&mut piece, rest);
                self.api.put_log(token, member, *next, piece, false, most).await?;
                *next = line.offset;
            }
        }
        self.api.put_log(token, member, *next, piece, last, most).await
    }
}
