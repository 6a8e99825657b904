//! `updraft-script`: reads the handshake, confines itself, then answers requests on standard input and output until
//! its input ends. Started by the service only; see `PROTOCOL.md`.

use std::{
    io::{self, Stdin},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use updraft_script::{
    Fetch, Host,
    fault::Fault,
    frame,
    protocol::{Answer, Body, Envelope, FORMAT, Hello, Ready, Reply},
    sandbox,
};

/// Why the process ends. Its words go to standard error, which the service keeps.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to use the pipe: {0}")]
    Frame(#[from] frame::Error),
    #[error("a message isn't what the protocol says: {0}")]
    Message(#[from] serde_json::Error),
    #[error("the caller speaks format {0}, this program format {FORMAT}")]
    Format(u32),
    #[error("failed to set a limit of the process: {0}")]
    Sandbox(#[from] sandbox::Error),
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed standard error.
            let _ = io::Write::write_all(&mut io::stderr(), format!("updraft-script: {error}\n").as_bytes());
            ExitCode::from(2)
        }
    }
}

fn serve() -> Result<(), Error> {
    let Some(first) = frame::read(&mut io::stdin())? else { return Ok(()) };
    let hello: Hello = serde_json::from_slice(&first)?;
    check(hello.format)?;
    let current = Arc::new(AtomicU64::new(0));
    let host = Host::new(&hello, fetch(current.clone()));
    let sandbox = sandbox::enter(&hello.limits)?;
    send(&Ready { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), sandbox })?;
    while let Some(bytes) = frame::read(&mut io::stdin())? {
        let request: Envelope = serde_json::from_slice(&bytes)?;
        drop(bytes);
        check(request.format)?;
        current.store(request.id, Ordering::Relaxed);
        sandbox::start_request(&hello.limits)?;
        let reply = host.answer(request.body);
        respond(request.id, reply)?;
    }
    Ok(())
}

fn check(format: u32) -> Result<(), Error> {
    if format == FORMAT { Ok(()) } else { Err(Error::Format(format)) }
}

fn answer(id: u64, reply: Reply) -> Answer {
    Answer { format: FORMAT, id, cpu_us: sandbox::cpu_us(), reply }
}

/// Sends an answer, cut up if it is larger than a frame.
fn respond(id: u64, reply: Reply) -> Result<(), Error> {
    let text = serde_json::to_string(&answer(id, reply))?;
    let bytes = text.len();
    if bytes > frame::ANSWER_BYTES_MAX {
        let message =
            format!("the result takes {bytes} bytes; at most {} are allowed", frame::ANSWER_BYTES_MAX);
        return send(&answer(id, Reply::Fault(Fault::new(message).limit("result"))));
    }
    if bytes <= frame::FRAME_BYTES_MAX {
        frame::write(&mut io::stdout(), text.as_bytes())?;
        return Ok(());
    }
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let mut end = rest.len().min(frame::PART_BYTES_MAX);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, more) = rest.split_at(end);
        send(&answer(id, Reply::Part { text: part.to_owned() }))?;
        rest = more;
    }
    send(&answer(id, Reply::Joined { bytes }))
}

fn send(message: &impl serde::Serialize) -> Result<(), Error> {
    frame::write(&mut io::stdout(), &serde_json::to_vec(message)?)?;
    Ok(())
}

/// Asks the caller for a module, in the middle of a request.
fn fetch(current: Arc<AtomicU64>) -> Fetch {
    Box::new(move |name| {
        let id = current.load(Ordering::Relaxed);
        ask(id, name)
            .map_err(|error| Fault::new(format!("failed to ask for the module `{name}`: {error}")))?
    })
}

fn ask(id: u64, name: &str) -> Result<Result<String, Fault>, Error> {
    respond(id, Reply::Need { module: name.to_owned() })?;
    let mut input: Stdin = io::stdin();
    let bytes = frame::read(&mut input)?.unwrap_or_default();
    let message: Envelope = serde_json::from_slice(&bytes)?;
    check(message.format)?;
    Ok(match message.body {
        Body::Module { text: Some(text), .. } => Ok(text),
        Body::Module { text: None, reason } => {
            let reason =
                reason.unwrap_or_else(|| format!("there is no file `{name}.rhai` in the script's folder"));
            Err(Fault::new(format!("can't import `{name}`: {reason}")))
        }
        _ => Err(Fault::new("the caller answered something else")),
    })
}
