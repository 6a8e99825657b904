//! The end of an attempt: what it comes to, `exit.json`, the report.

use dags::time::Span;
use engine::{
    dispatch::{End, Outcome},
    format::Format,
};

use super::{
    ending::Cause,
    span,
    state::{Attempt, Exited, Key, Life, Running, Supervisor},
};
use crate::{
    attempt::{Verdict, translate},
    folder::{self, Exit, Folder},
    result,
};

/// An outcome with its reason.
type Conclusion = (Outcome, Option<String>);

impl Supervisor {
    /// Ends the record of an attempt whose processes are gone and whose output is read.
    pub(super) fn finish_if_over(&mut self, key: Key) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let Life::Running(running) = &mut attempt.life else { return };
        let Some(exited) =
            running.exited.filter(|_| running.outputs.is_empty() && running.lingering.is_empty())
        else {
            return;
        };
        let end = running.conclude(&attempt.folder, &self.options.objects, exited);
        running.armed.map(|armed| self.timers.remove(&(armed, key)));
        self.old_cgroups.extend(running.cgroup.take());
        self.record_end(key, end);
    }

    /// Writes the end down, then tells everyone.
    pub(super) fn record_end(&mut self, key: Key, end: End) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let exit = Exit { format: Format, pid: attempt.pid, end };
        if let Err(error) = attempt.folder.write_exit(&exit, self.options.durable) {
            // The report still goes out: a full disk must not leave the attempt running for ever.
            tracing::error!(attempt = %key.0.attempt, dispatch = %key.0, member = key.1, %error, "exit.json couldn't be written");
        }
        attempt.life = Life::Ended(exit.end);
        let reports = attempt.reports(key, &self.host);
        reports.last().into_iter().for_each(|report| self.publish(report));
    }
}

impl Running {
    fn conclude(&mut self, folder: &Folder, objects: &std::path::Path, exited: Exited) -> End {
        let (mut outcome, mut reason) = self.judge(folder, exited);
        let (mut result, mut mapped_length) = (None, None);
        if outcome == Outcome::Success {
            match result::read(&folder.result(), objects, &self.secrets) {
                Ok(None) => {}
                Ok(Some(read)) => (result, mapped_length) = (Some(read.result), read.mapped_length),
                Err(error) => (outcome, reason) = (Outcome::Failed, Some(error.to_string())),
            }
        }
        if let Some(error) = self.log.failure() {
            let note = format!("its log is incomplete: {error}");
            reason = Some(reason.map_or(note.clone(), |reason| format!("{reason}; {note}")));
        }
        let duration = span(exited.at.duration_since(self.started)).max(Span::ZERO);
        let reason = reason.map(|reason| self.secrets.mask(&reason));
        End { outcome, duration, exit_code: Some(exited.code), reason, result, mapped_length }
    }

    fn judge(&self, folder: &Folder, exited: Exited) -> Conclusion {
        match self.ending.as_ref().map(|ending| &ending.cause) {
            Some(Cause::Killed { reason }) => return (Outcome::Killed, Some(reason.clone())),
            Some(Cause::TimedOut { after }) => {
                return (Outcome::TimedOut, Some(format!("ran longer than its timeout of {}", span(*after))));
            }
            Some(Cause::OutOfMemory { bytes, bytes_max }) => {
                let reason = format!("ran out of memory: it held {bytes} bytes, its limit is {bytes_max}");
                return (Outcome::Failed, Some(reason));
            }
            None => {}
        }
        let kills = self.cgroup.as_ref().map_or(0, crate::limits::Cgroup::out_of_memory_kills);
        if exited.code != 0 && kills > 0 {
            let limit = self.context.task.memory_bytes;
            return (Outcome::Failed, Some(format!("ran out of memory: its limit is {limit} bytes")));
        }
        match folder::read::<Verdict>(&folder.verdict()) {
            Ok(Some(verdict)) => (verdict.outcome, verdict.reason),
            Ok(None) => self.judge_program(folder, exited),
            Err(error) => (Outcome::Failed, Some(format!("the operator's verdict can't be read: {error}"))),
        }
    }

    /// The outcome of a program by its exit code, as its operator reads it.
    fn judge_program(&self, folder: &Folder, exited: Exited) -> Conclusion {
        let dirs = folder.dirs();
        let said = match folder::read_regular(&dirs.reason_file(), result::RESULT_BYTES_MAX) {
            Ok(said) => said.is_some(),
            // Something that isn't a file would hold us up when the operator reads it.
            Err(error) => {
                return (Outcome::Failed, Some(format!("the file $UPDRAFT_REASON can't be read: {error}")));
            }
        };
        let (outcome, reason) = translate(plugins::operator::exited(&self.context, &dirs, exited.code));
        let failed = matches!(outcome, Outcome::Failed | Outcome::FailedForGood);
        match reason {
            Some(reason) if failed && !said && !self.last_words.is_empty() => {
                (outcome, Some(format!("{reason}; its last words: {}", self.last_words)))
            }
            reason => (outcome, reason),
        }
    }
}

/// The end of something that never ran.
pub(super) fn never_ran(outcome: Outcome, reason: String) -> End {
    End {
        outcome,
        duration: Span::ZERO,
        exit_code: None,
        reason: Some(reason),
        result: None,
        mapped_length: None,
    }
}

impl Attempt {
    /// The record of something that has ended.
    pub(super) fn over(folder: Folder, since: dags::time::Timestamp, pid: Option<u32>, end: End) -> Self {
        Self { folder, since, pid, life: Life::Ended(end) }
    }
}
