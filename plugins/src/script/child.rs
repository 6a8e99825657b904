//! One child: started, greeted, asked, and killed when it runs away.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    process::{Child as Process, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{
    death::explain,
    error::{Error, Fault},
    modules::Modules,
    wire::{self, Answer, Body, Envelope, FORMAT, Hello, InForce, Language, Limits, Ready, Reply},
};

/// How long a child may take to start and confine itself.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a child that closed its pipe may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of a dead child's words is read.
const WORDS_BYTES_MAX: u64 = 4096;
/// How many modules one request may ask for; the child stops earlier.
const MODULES_MAX: u32 = 100;

/// A warm child. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    input: ChildStdin,
    output: ChildStdout,
    words: ChildStderr,
    next_id: u64,
    /// What confines it.
    pub(super) in_force: InForce,
    /// Processor time so far, in microseconds.
    pub(super) cpu_us: u64,
}

impl Child {
    /// Starts the program and greets it.
    pub(super) async fn start(program: &Path, limits: &Limits, language: &Language) -> Result<Self, Error> {
        let started = |e| match e {
            e if std::io::Error::kind(&e) == std::io::ErrorKind::NotFound => {
                Error::Missing(program.to_owned())
            }
            e => Error::Start(program.to_owned(), e),
        };
        let mut process = Command::new(program)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(started)?;
        let pipe = || Error::Died("a pipe is missing".to_owned());
        let mut child = Self {
            input: process.stdin.take().ok_or_else(pipe)?,
            output: process.stdout.take().ok_or_else(pipe)?,
            words: process.stderr.take().ok_or_else(pipe)?,
            process,
            next_id: 0,
            in_force: InForce {
                seccomp: false,
                landlock: super::Landlock::None,
                limits: Vec::new(),
                missing: Vec::new(),
            },
            cpu_us: 0,
        };
        let hello = wire::encode(&Hello { format: FORMAT, limits, language })
            .map_err(|e| Error::Protocol(e.to_string()))?;
        let greeted = timeout(START_TIMEOUT, async {
            wire::write(&mut child.input, &hello).await?;
            wire::read(&mut child.output).await
        })
        .await;
        let bytes = match greeted {
            Err(_) => return Err(Error::Died(format!("it didn't greet within {START_TIMEOUT:?}"))),
            Ok(Err(error)) => return Err(child.died(&error).await),
            Ok(Ok(bytes)) => bytes,
        };
        let ready: Ready = serde_json::from_slice(&bytes).map_err(|e| Error::Protocol(e.to_string()))?;
        if ready.format != FORMAT {
            return Err(Error::Protocol(format!(
                "{} {} speaks format {}, this service format {FORMAT}: they must be of one release",
                program.display(),
                ready.version,
                ready.format
            )));
        }
        child.in_force = ready.sandbox;
        Ok(child)
    }

    /// Asks for one thing and waits. After any error but a fault without a death the child is of no more use.
    pub(super) async fn ask(
        &mut self,
        body: &Body<'_>,
        modules: &Modules,
        most: Duration,
    ) -> Result<Reply, Failure> {
        self.next_id += 1;
        let request = wire::encode(&Envelope { format: FORMAT, id: self.next_id, body }).map_err(
            |error| match error {
                wire::Error::TooLarge(bytes) => Failure::Before(Error::from(Fault::limit(
                    "frame",
                    format!("the request takes {bytes} bytes; at most {} are allowed", wire::FRAME_BYTES_MAX),
                ))),
                other => Failure::Before(Error::Protocol(other.to_string())),
            },
        )?;
        match timeout(most, self.exchange(&request, modules)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Exchange::Wire(error @ (wire::Error::Io(_) | wire::Error::Ended)))) => {
                Err(Failure::Died(self.died(&error).await))
            }
            Ok(Err(Exchange::Wire(error))) => Err(Failure::Died(Error::Protocol(error.to_string()))),
            Ok(Err(Exchange::Protocol(reason))) => Err(Failure::Died(Error::Protocol(reason))),
            Err(_) => {
                // Dropping would kill it as well; waiting frees its memory before the author hears of it.
                if let Err(error) = self.process.kill().await {
                    tracing::warn!(%error, "failed to kill a script host");
                }
                Err(Failure::Died(Error::from(Fault::limit(
                    "time",
                    format!("the script takes longer than {} ms", most.as_millis()),
                ))))
            }
        }
    }

    async fn exchange(&mut self, request: &[u8], modules: &Modules) -> Result<Reply, Exchange> {
        wire::write(&mut self.input, request).await?;
        let mut parts = String::new();
        let mut asked = 0;
        loop {
            let bytes = wire::read(&mut self.output).await?;
            match self.accept(&bytes)? {
                Reply::Part { text } if parts.len() + text.len() <= wire::ANSWER_BYTES_MAX => {
                    parts.push_str(&text);
                }
                Reply::Part { .. } => return Err(Exchange::Protocol("an answer over the limit".to_owned())),
                Reply::Joined { bytes } if bytes == parts.len() => return self.accept(parts.as_bytes()),
                Reply::Joined { .. } => {
                    return Err(Exchange::Protocol("an answer with parts missing".to_owned()));
                }
                Reply::Need { module } => {
                    asked += 1;
                    if asked > MODULES_MAX {
                        return Err(Exchange::Protocol(format!(
                            "it asks for more than {MODULES_MAX} modules"
                        )));
                    }
                    self.provide(&module, modules).await?;
                }
                reply => return Ok(reply),
            }
        }
    }

    /// Checks that a message answers the request under way.
    fn accept(&mut self, bytes: &[u8]) -> Result<Reply, Exchange> {
        let answer: Answer = serde_json::from_slice(bytes).map_err(|error| {
            let what = if wire::is_json(bytes) { "an unexpected message" } else { "no message" };
            Exchange::Protocol(format!("{what}: {error}"))
        })?;
        if answer.format != FORMAT || answer.id != self.next_id {
            return Err(Exchange::Protocol(format!("an answer to request {}", answer.id)));
        }
        self.cpu_us = answer.cpu_us;
        Ok(answer.reply)
    }

    async fn provide(&mut self, module: &str, modules: &Modules) -> Result<(), Exchange> {
        let text = modules.read(module).await;
        let body =
            Body::Module { text: text.as_deref().ok(), reason: text.as_ref().err().map(String::as_str) };
        let message = wire::encode(&Envelope { format: FORMAT, id: self.next_id, body: &body })?;
        Ok(wire::write(&mut self.input, &message).await?)
    }

    /// Why the child is gone.
    async fn died(&mut self, error: &wire::Error) -> Error {
        let mut words = Vec::new();
        let ended = timeout(END_TIMEOUT, async {
            (&mut self.words).take(WORDS_BYTES_MAX).read_to_end(&mut words).await?;
            self.process.wait().await
        })
        .await;
        match ended {
            Ok(Ok(status)) => explain(status, &String::from_utf8_lossy(&words)),
            Ok(Err(e)) => Error::Died(format!("{error}; {e}")),
            Err(_) => Error::Died(format!("{error}, and it didn't end within {END_TIMEOUT:?}")),
        }
    }
}

/// A request that gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent; the child is as good as before.
    Before(Error),
    /// The child is gone or can't be trusted any more.
    Died(Error),
}

enum Exchange {
    Wire(wire::Error),
    Protocol(String),
}

impl From<wire::Error> for Exchange {
    fn from(error: wire::Error) -> Self {
        Self::Wire(error)
    }
}
