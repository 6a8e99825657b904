//! The beginning of an attempt.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Seek as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::{Command, Stdio},
};

use dags::ids::DispatchId;
use engine::dispatch::{End, Outcome};
use plugins::{
    context::{AttemptContext, Connection},
    operator::becomes_program,
};
use rustix::{
    fs::MemfdFlags,
    pipe::PipeFlags,
    process::{Pid, PidfdFlags},
};
use serde_json::Value;

use super::{
    ending::MEMORY_LOOK,
    finish::never_ran,
    output::Output,
    poll::{READABLE, Source},
    state::{Attempt, Key, Life, MemoryWatch, Running, Supervisor},
};
use crate::{
    attempt::{Envelope, MARK},
    clock,
    contract::Work,
    folder::Folder,
    limits::Cgroup,
    log::{self, Splitter, Stream},
    mask::Secrets,
    wire::Answer,
};

/// Our own program, also if the file it came from has been replaced: supervisor and attempts are of one release.
const SELF: &str = "/proc/self/exe";

impl Supervisor {
    /// Starts a member of a dispatch, once.
    pub(super) fn start(&mut self, work: Work) -> Answer {
        let Work { dispatch, context } = work;
        let key = (dispatch.id, context.member);
        if self.attempts.contains_key(&key) {
            return Answer::Done;
        }
        if self.was_forgotten(key) {
            return Answer::Refused {
                reason: format!("dispatch {} has ended and was confirmed", dispatch.id),
            };
        }
        let killed = self.members(dispatch.id).any(|(_, attempt)| attempt.killed());
        let (folder, since) =
            (Folder::of(&self.options.dir.join("attempts"), dispatch.id, context.member), clock::wall());
        let begun = folder.create();
        let end = match begun {
            Err(error) => Some(not_started(&format!("its folder can't be made: {error}"))),
            Ok(()) if killed => Some(never_ran(Outcome::Killed, "killed before it started".to_owned())),
            Ok(())
                if !self.options.tenants_share_user
                    && self.tenant.is_some_and(|tenant| tenant != dispatch.tenant) =>
            {
                Some(not_started(
                    "this machine runs attempts of another tenant, and both would be the same user",
                ))
            }
            Ok(()) if self.processes.len() >= self.options.attempts_max => Some(not_started(&format!(
                "{} attempts are running, the most that is allowed",
                self.processes.len()
            ))),
            Ok(()) => None,
        };
        self.tenant.get_or_insert(dispatch.tenant);
        let timeout = dispatch.timeout.or(context.task.timeout);
        match end.map_or_else(|| self.spawn(key, &folder, context, timeout), Err) {
            Ok(running) => {
                self.processes.insert(running.process.as_raw_pid(), key);
                let pid = Some(running.process.as_raw_pid() as u32);
                let attempt = Attempt { folder, since, pid, life: Life::Running(Box::new(running)) };
                attempt.reports(key, &self.host).iter().for_each(|report| self.publish(report));
                self.attempts.insert(key, attempt);
                self.arm(key);
            }
            Err(end) => {
                self.attempts.insert(key, Attempt::over(folder, since, None, end.clone()));
                self.record_end(key, end);
            }
        }
        Answer::Done
    }

    /// Remembers a kill of something that never came, so that it won't start.
    pub(super) fn kill_unseen(&mut self, key: Key, reason: &str) {
        let (dispatch, member) = key;
        let folder = Folder::of(&self.options.dir.join("attempts"), dispatch, member);
        let since = clock::wall();
        if let Err(error) = folder.create() {
            tracing::error!(attempt = %dispatch.attempt, %dispatch, member, %error, "the kill of an unseen dispatch is only remembered in memory");
        }
        let end = never_ran(Outcome::Killed, format!("killed before it started: {reason}"));
        self.attempts.insert(key, Attempt::over(folder, since, None, end.clone()));
        self.record_end(key, end);
    }

    /// The members of a dispatch that aren't forgotten.
    pub(super) fn members(&self, dispatch: DispatchId) -> impl Iterator<Item = (&Key, &Attempt)> {
        self.attempts.range((dispatch, 0)..=(dispatch, u32::MAX))
    }

    fn spawn(
        &mut self,
        key: Key,
        folder: &Folder,
        context: AttemptContext,
        timeout: Option<dags::time::Span>,
    ) -> Result<Running, End> {
        let secrets = secrets_of(&context);
        let started = clock::monotonic();
        let mut cgroup = None;
        let parts = self.launch(key, folder, &context, &secrets, &mut cgroup);
        let (process, pidfd, outputs) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                self.old_cgroups.extend(cgroup);
                return Err(not_started(&error.to_string()));
            }
        };
        let token = match self.poll.add(&pidfd, Source::Exit(key), READABLE) {
            Ok(token) => token,
            Err(error) => {
                super::orphans::kill(process, rustix::process::Signal::KILL);
                self.look_for_orphans = true;
                return Err(not_started(&format!("its process can't be watched: {error}")));
            }
        };
        let memory_watch = (context.task.memory_bytes > 0 && self.limits.watches_memory())
            .then(|| MemoryWatch { bytes_max: context.task.memory_bytes, next: started + MEMORY_LOOK });
        let log = log::Writer::new(folder.log(), self.options.log_bytes_max);
        let too_short = secrets.too_short();
        let mut running = Running {
            process,
            pidfd,
            token,
            outputs,
            started,
            deadline: timeout.map(|timeout| (started + timeout.to_std(), timeout.to_std())),
            ending: None,
            exited: None,
            lingering: BTreeSet::new(),
            log,
            last_words: String::new(),
            secrets,
            context: without_secrets(context),
            cgroup,
            memory_watch,
            armed: None,
        };
        if too_short > 0 {
            running.note(&format!("{too_short} secrets are too short to be masked in this log"));
        }
        Ok(running)
    }

    /// Starts the process; its standard input is the context, in memory that no file system holds.
    fn launch(
        &mut self,
        key: Key,
        folder: &Folder,
        context: &AttemptContext,
        secrets: &Secrets,
        cgroup: &mut Option<Cgroup>,
    ) -> io::Result<(Pid, OwnedFd, Vec<Output>)> {
        let task = &context.task;
        *cgroup = self.limits.cgroup(&format!("{}-{}", key.0, key.1), task.memory_bytes, task.cpu_milli)?;
        let memory_backstop = (task.memory_bytes > 0 && self.limits.watches_memory())
            .then(|| task.memory_bytes.saturating_mul(2).saturating_add(1 << 30));
        let envelope = Envelope {
            supervisor: rustix::process::getpid().as_raw_pid(),
            folder: folder.path().to_owned(),
            cgroup: cgroup.as_ref().map(Cgroup::doors).unwrap_or_default(),
            open_files: self.open_files,
            memory_backstop,
            context: std::borrow::Cow::Borrowed(context),
        };
        let mut input = File::from(rustix::fs::memfd_create("context", MemfdFlags::CLOEXEC)?);
        input.write_all(&serde_json::to_vec(&envelope)?)?;
        input.rewind()?;
        let (out_reader, out_writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (err_reader, err_writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let program = self.attempt_program.as_ref().filter(|_| becomes_program(&task.operator));
        let mut command = Command::new(program.map_or_else(|| SELF.into(), opened));
        command.arg0("updraft").arg("attempt").env(MARK, folder.path()).process_group(0);
        let child =
            command.stdin(input).stdout(Stdio::from(out_writer)).stderr(Stdio::from(err_writer)).spawn()?;
        drop(command);
        let process = Pid::from_child(&child);
        match self.watch(key, process, secrets, [(out_reader, Stream::Stdout), (err_reader, Stream::Stderr)])
        {
            Ok((pidfd, outputs)) => Ok((process, pidfd, outputs)),
            Err(error) => {
                super::orphans::kill(process, rustix::process::Signal::KILL);
                self.look_for_orphans = true;
                Err(error)
            }
        }
    }

    fn watch(
        &mut self,
        key: Key,
        process: Pid,
        secrets: &Secrets,
        pipes: [(OwnedFd, Stream); 2],
    ) -> io::Result<(OwnedFd, Vec<Output>)> {
        let pidfd = rustix::process::pidfd_open(process, PidfdFlags::empty())?;
        let mut outputs = Vec::with_capacity(pipes.len());
        for (pipe, stream) in pipes {
            let token = self.poll.add(&pipe, Source::Output(key, stream), READABLE)?;
            let (masker, splitter) = (secrets.masker(), Splitter::default());
            outputs.push(Output {
                pipe,
                token,
                stream,
                masker,
                splitter,
                mask_since: None,
                line_since: None,
            });
        }
        Ok((pidfd, outputs))
    }
}

/// The path of an open file, for this process and for those that it starts until they are another program.
pub(super) fn opened(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn not_started(reason: &str) -> End {
    never_ran(Outcome::NotStarted, format!("the attempt couldn't be started: {reason}"))
}

/// Every secret value that the attempt can read.
fn secrets_of(context: &AttemptContext) -> Secrets {
    let mut values = Vec::new();
    for connection in context.connections.values() {
        values.extend(connection.password.clone());
        connection.extra.values().for_each(|value| leaves(value, &mut values));
    }
    for name in &context.secret_variables {
        let Some(value) = context.variables.get(name) else { continue };
        leaves(value, &mut values);
        // `var.json` gives out the parts.
        if let Some(parts) = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
            && (parts.is_object() || parts.is_array())
        {
            leaves(&parts, &mut values);
        }
    }
    Secrets::new(values.iter().map(String::as_str))
}

fn leaves(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Number(number) => out.push(number.to_string()),
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, out)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, out)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// What is kept of a context while the attempt runs: enough to read its exit code.
fn without_secrets(mut context: AttemptContext) -> AttemptContext {
    context.connections = std::collections::BTreeMap::<String, Connection>::new();
    context.outputs.clear();
    context.variables.clear();
    context.secret_variables.clear();
    context
}
