//! Running other programs: their output is shown as it comes, kept in a log, and bounded in time.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

/// How long a finished program's output may stay open before we stop reading. It stays open when the
/// program left a child behind that inherited it.
const LINGER: Duration = Duration::from_secs(3);

/// How often a running program is looked at. Short, since many of them end within milliseconds.
const LOOK: Duration = Duration::from_millis(20);

/// Writes a line to standard output.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell when standard output is closed.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes a line about what goes on to standard error, beside what a shell may read from standard output.
pub(crate) fn tell(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Exit code 0.
    Success,
    /// Another exit code, or a signal.
    Failure,
    /// It ran past its deadline, and it and its descendants were killed.
    TimedOut,
}

/// Runs a program to its end. Both of its output streams go to standard output and to the end of the
/// file `log`. With `stdout`, its standard output goes to that file instead.
pub(crate) fn stream(
    command: &mut Command,
    log: &Path,
    stdout: Option<&Path>,
    limit: Duration,
) -> Result<Ending> {
    let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
    let mut log_file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("failed to open the log {}", log.display()))?;
    match stdout {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
            command.stdout(file);
        }
        None => {
            command.stdout(writer.try_clone().context("failed to clone a pipe")?);
        }
    }
    command.stdin(Stdio::null()).stderr(writer);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("failed to start {program}"))?;
    // The command still owns our ends of the pipe; the reader would wait for them for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let (done, reading_done) = mpsc::channel();
    let mut log_copy = log_file.try_clone().context("failed to clone the log's handle")?;
    std::thread::spawn(move || {
        let result = copy_lines(reader, &mut log_copy);
        // The receiver is gone when the program's output outlived it; nothing is lost then.
        drop(done.send(result));
    });

    let started = Instant::now();
    let ending = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("failed to wait for {program}"))? {
            break if status.success() { Ending::Success } else { Ending::Failure };
        }
        if started.elapsed() > limit {
            kill_tree(child.id());
            child.wait().with_context(|| format!("failed to wait for {program} after killing it"))?;
            break Ending::TimedOut;
        }
        std::thread::sleep(LOOK);
    };
    if let Ok(result) = reading_done.recv_timeout(LINGER) {
        result.with_context(|| format!("failed to copy the output of {program}"))?;
    } else {
        let note = format!("note: {program} ended but left a process behind that holds its output");
        say(&note);
        writeln!(log_file, "{note}").context("failed to write the log")?;
    }
    if ending == Ending::TimedOut {
        let note = format!("error: {program} was killed after {} s", limit.as_secs());
        say(&note);
        writeln!(log_file, "{note}").context("failed to write the log")?;
    }
    Ok(ending)
}

fn copy_lines(reader: PipeReader, log: &mut File) -> std::io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        log.write_all(&line)?;
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
    }
}

/// Kills a process and everything that descends from it, the parents first so that none can start
/// another. Descendants that left for a parent of their own choosing are not found.
fn kill_tree(root: u32) {
    for id in descendants(root) {
        if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // An error says that it ended since we looked.
            rustix::process::kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// The process and its descendants, parents before children.
fn descendants(root: u32) -> Vec<u32> {
    let mut pairs = Vec::new();
    if let Ok(entries) = std::fs::read_dir("/proc") {
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            if let Some(parent) = parent_of(&stat) {
                pairs.push((id, parent));
            }
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(pairs.iter().filter(|(_, p)| *p == parent).map(|(id, _)| *id));
        next += 1;
    }
    found
}

/// The parent's id in a `/proc/<id>/stat` line. The program's name stands in parentheses before it and
/// may itself hold spaces and parentheses.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_reach_the_log_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ending =
            stream(&mut shell("echo one; echo two >&2; echo three"), &log, None, Duration::from_secs(20))
                .unwrap();
        assert_eq!(ending, Ending::Success);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn standard_output_can_go_to_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (log, out) = (folder.path().join("log"), folder.path().join("out"));
        let ending =
            stream(&mut shell("echo one; echo two >&2; exit 3"), &log, Some(&out), Duration::from_secs(20))
                .unwrap();
        assert_eq!(ending, Ending::Failure);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "one\n");
    }

    #[test]
    fn a_program_past_its_deadline_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let started = Instant::now();
        let script = "sleep 300 & echo $!; wait";
        let ending = stream(&mut shell(script), &log, None, Duration::from_millis(300)).unwrap();
        assert_eq!(ending, Ending::TimedOut);
        assert!(started.elapsed() < Duration::from_mins(1));
        let text = std::fs::read_to_string(&log).unwrap();
        let child = text.lines().next().unwrap();
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        // A killed process takes a moment to go.
        while !gone() {
            assert!(started.elapsed() < Duration::from_mins(1), "process {child} is still there");
            std::thread::yield_now();
        }
        assert!(text.contains("was killed after 0 s"));
    }

    #[test]
    fn a_process_left_behind_does_not_hold_us_up() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let started = Instant::now();
        let ending = stream(&mut shell("sleep 40 & echo $!"), &log, None, Duration::from_secs(20)).unwrap();
        assert_eq!(ending, Ending::Success);
        assert!(started.elapsed() < Duration::from_secs(30));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("left a process behind"), "{text}");
        kill_tree(text.lines().next().unwrap().parse().unwrap());
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_of("12 (a) b) S 7 12 12 0"), Some(7));
        assert_eq!(parent_of("nonsense"), None);
    }
}
