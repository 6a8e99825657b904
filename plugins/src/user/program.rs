//! Plugins that are programs: a request on standard input, lines of JSON on standard output.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    log,
    operator::{Failure, Finished, Job, Outcome},
};

/// The number of the protocol.
const FORMAT: u32 = 1;
/// The longest line, in bytes: the answer with its result.
const LINE_BYTES_MAX: u64 = 2 * 1024 * 1024;
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One line of output.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// A line for the task's log.
    log: Option<String>,
    /// The end.
    outcome: Option<Outcome>,
    /// What it returned.
    result: Option<Value>,
}

/// Runs the program to its end.
pub(super) fn run(job: &Job<'_>, path: &Path, args: &Map<String, Value>) -> Result<Finished, Failure> {
    let name = &job.ctx.task.operator;
    let machine = |what| move |source| Failure::Machine { what, source };
    let mut child = Command::new(path)
        .arg("run")
        .env_clear()
        .env("PATH", path_variable())
        .env("HOME", &job.dirs.work)
        .env("TMPDIR", &job.dirs.work)
        .env("LANG", "C.UTF-8")
        .envs(job.environment()?)
        .current_dir(&job.dirs.work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::PermissionDenied => Failure::Plugin {
                operator: name.clone(),
                why: "its program may not be executed: set its mode with `chmod +x`".to_owned(),
            },
            _ => Failure::Machine { what: "start the plugin's program", source },
        })?;
    let mut stdin = child.stdin.take().expect("invariant: standard input was piped");
    let stdout = child.stdout.take().expect("invariant: standard output was piped");
    let request = request(job, args).to_string();
    // A program that answers without reading closes the pipe, which is its right; so nobody looks at this result.
    let writer = std::thread::spawn(move || stdin.write_all(request.as_bytes()));
    let said = listen(BufReader::new(stdout));
    if said.is_err() {
        // It broke the protocol; whatever it still does, nobody listens.
        let _ = child.kill();
    }
    let status = child.wait().map_err(machine("wait for the plugin's program"))?;
    let _ = writer.join();
    Ok(match said {
        Err(why) => Finished::failed(format!("the plugin's program broke its protocol: {why}")),
        Ok(Some(finished)) => finished,
        Ok(None) => Finished::failed(format!("the plugin's program ended without an outcome ({status})")),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "where programs are found is the machine's, not a setting of ours"
)]
fn path_variable() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())
}

fn request(job: &Job<'_>, args: &Map<String, Value>) -> Value {
    let mut names = job.renderer.names().clone();
    if let Value::Object(names) = &mut names {
        names.remove("conn");
    }
    json!({
        "format": FORMAT,
        "args": args,
        "context": names,
        "connections": job.ctx.connections,
        "bundle": job.ctx.bundle_dir,
        "work": job.dirs.work,
        "waited": job.ctx.task.waited,
    })
}

/// Reads lines until the end; the outcome must be the last one that is JSON.
fn listen(mut output: impl std::io::BufRead) -> Result<Option<Finished>, String> {
    let mut finished = None;
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|e| format!("its output can't be read: {e}"))?;
        if read == 0 {
            return Ok(finished);
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"));
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.starts_with('{') {
            // Whatever a library prints belongs into the log.
            log(text);
            continue;
        }
        if finished.is_some() {
            return Err("something follows its outcome".to_owned());
        }
        let line: Line = serde_json::from_str(text).map_err(|e| format!("{e} in the line {}", cut(text)))?;
        match line {
            Line { log: Some(text), outcome: None, result: None } => log(&text),
            Line { log: None, outcome: Some(outcome), result } => {
                finished = Some(Finished { outcome, result });
            }
            _ => return Err(format!("a line must have either `log` or `outcome`, not {}", cut(text))),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_outcome_comes_last() {
        let said = |text: &str| listen(text.as_bytes());
        let finished =
            said("plain\n{\"log\": \"x\"}\n{\"outcome\": \"success\", \"result\": [1]}\n").unwrap().unwrap();
        assert_eq!(finished, Finished { outcome: Outcome::Success, result: Some(json!([1])) });
        let later = said("{\"outcome\": {\"reschedule\": {\"after\": \"30s\"}}}").unwrap().unwrap();
        assert_eq!(later.outcome, Outcome::Reschedule { after: dags::time::Span::seconds(30) });
        assert_eq!(said("").unwrap(), None);
        for bad in [
            "{\"outcome\": \"fine\"}",
            "{\"log\": \"a\", \"outcome\": \"success\"}",
            "{",
            "{\"x\": 1}",
            "{\"outcome\": \"success\"}\n{\"log\": \"x\"}",
        ] {
            assert!(said(bad).is_err(), "{bad}");
        }
    }
}
