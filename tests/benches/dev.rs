//! How long an author waits in `updraft dev`: from the save of a file to the end of the run that it starts.
//!
//! `cargo xtask bench --program dev` builds and runs it. `--saves N` is how often a file is saved; `--test` is a few times.

#![expect(clippy::print_stdout, reason = "a measurement is for people")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal};

/// Tasks before and after the one that is changed, which aren't run again.
const BESIDE: usize = 20;

struct Session {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Session {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let program = own.ancestors().nth(2).context("this program has no folder")?.join("updraft");
        ensure!(program.is_file(), "{} isn't built", program.display());
        let mut command = Command::new(program);
        command.args(["dev", "--run", "loop", "--listen", "127.0.0.1:0"]).arg(folder);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, lines })
    }

    fn until(&mut self, text: &str) -> anyhow::Result<()> {
        for line in &mut self.lines {
            if line?.contains(text) {
                return Ok(());
            }
        }
        anyhow::bail!("`{text}` didn't come")
    }

    fn end(mut self) -> anyhow::Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::INT)?;
        ensure!(self.child.wait()?.success(), "it didn't end well");
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Only after an error: otherwise it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dag(text: &str) -> String {
    let mut dag = format!("dag: loop\ntasks:\n  changed: {{ bash: echo {text} }}\n");
    for n in 0..BESIDE {
        dag.push_str(&format!("  other{n}: {{ bash: 'true' }}\n"));
    }
    dag
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let test = arguments.iter().any(|argument| argument == "--test");
    let named = arguments.iter().position(|argument| argument == "--saves");
    let saves = match named.and_then(|at| arguments.get(at + 1)) {
        Some(number) => number.parse().context("`--saves` takes a number")?,
        None => {
            if test {
                3
            } else {
                100
            }
        }
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("loop.yaml");
    fs::write(&file, dag("first"))?;
    let started = Instant::now();
    let mut session = Session::start(folder.path())?;
    session.until("console: ")?;
    let up = started.elapsed();
    session.until("loop dev-1 success")?;
    let first = started.elapsed();
    let mut took: Vec<Duration> = Vec::new();
    for n in 0..saves {
        let saved = Instant::now();
        fs::write(&file, dag(&n.to_string()))?;
        session.until(&format!("loop dev-{} success", n + 2))?;
        took.push(saved.elapsed());
    }
    session.end()?;
    took.sort();
    let at = |percent: usize| took.get((took.len().max(1) - 1) * percent / 100).copied().unwrap_or_default();
    println!("| what | value | aim |\n| --- | --- | --- |");
    println!("| start until it is there | {up:.0?} | 1 s |");
    println!("| start to the end of the first run of {} tasks | {first:.0?} | - |", BESIDE + 1);
    println!(
        "| save to the result of the changed bash task, of {saves} | p50 {:.0?}, p99 {:.0?} | 200 ms |",
        at(50),
        at(99)
    );
    Ok(())
}
