//! `updraft dev`: a file that is saved is checked and run, and nothing is left behind.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal};

use crate::program::{processes, updraft};

/// A session whose output is read line by line. It ends with the test.
struct Session {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Session {
    fn start(folder: &Path, temporary: &Path, arguments: &[&str]) -> Self {
        let mut command = updraft();
        command.env("TMPDIR", temporary).args(["dev", folder.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Everything up to a line that has this text in it.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut came = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_mins(1)) else {
                panic!("`{text}` didn't come:\n{}\n{}", self.seen.join("\n"), came.join("\n"));
            };
            came.push(line);
            if came.last().unwrap().contains(text) {
                self.seen.extend(came.iter().cloned());
                return came;
            }
        }
    }

    fn interrupt(&mut self) -> Option<i32> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dag(first: &str, second: &str) -> String {
    format!("dag: pair\ntasks:\n  one: {{ bash: '{first}' }}\n  two: {{ needs: one, bash: '{second}' }}\n")
}

#[test]
fn what_is_saved_runs_and_what_did_not_change_keeps_its_result() {
    let (project, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dags = project.path().canonicalize().unwrap();
    let file = dags.join("pair.yaml");
    let log = dags.join("ran.txt");
    let ran = || fs::read_to_string(&log).unwrap_or_default();
    let note = |word: &str| format!("echo {word} >> {}", log.display());
    fs::write(&file, dag(&note("one"), &note("two"))).unwrap();
    let mut session = Session::start(&dags, temporary.path(), &["--run", "pair"]);
    session.until("pair dev-1 success");
    // What tasks write into the folder would be the reason for the next run.
    // It may have been seen before the run was over.
    if !session.seen.iter().any(|line| line.contains("ran.txt changed while `pair` ran")) {
        session.until("ran.txt changed while `pair` ran");
    }
    assert_eq!(ran(), "one\ntwo\n");

    fs::write(&file, dag(&note("one"), &note("three"))).unwrap();
    let came = session.until("pair dev-2 success");
    assert!(came.iter().any(|line| line.contains("one") && line.contains("unchanged")), "{came:?}");
    assert_eq!(ran(), "one\ntwo\nthree\n", "only what changed was run");

    // What depends on it runs with it.
    fs::write(&file, dag(&note("four"), &note("three"))).unwrap();
    session.until("pair dev-3 success");
    assert_eq!(ran(), "one\ntwo\nthree\nfour\nthree\n");

    // Any task may read a file that no task names.
    fs::write(dags.join("helper.py"), "LIMIT = 3\n").unwrap();
    session.until("pair dev-4 success");
    assert_eq!(ran(), "one\ntwo\nthree\nfour\nthree\nfour\nthree\n");

    fs::write(&file, dag(&note("four"), "true").replace("needs: one", "needs: onne")).unwrap();
    let came = session.until("did you mean");
    assert!(came.iter().any(|line| line.contains("pair.yaml:4:")), "{came:?}");
    fs::write(&file, dag(&note("four"), "exit 3")).unwrap();
    let came = session.until("pair dev-5 failed");
    assert!(came.iter().any(|line| line.contains("two") && line.contains("failed")), "{came:?}");

    assert_eq!(session.interrupt(), Some(0));
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(processes(dags.to_str().unwrap()), [0_i32; 0]);
}

#[test]
fn an_interrupt_ends_what_runs_and_leaves_nothing() {
    let (project, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dags = project.path().canonicalize().unwrap();
    let mark = dags.join("mark");
    let sleeper =
        format!("dag: long\ntasks:\n  nap: {{ bash: 'touch {}; sleep 1000.25' }}\n", mark.display());
    fs::write(dags.join("long.yaml"), sleeper).unwrap();
    let mut session = Session::start(&dags, temporary.path(), &["--run", "long"]);
    session.until("nap  running");
    while !mark.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(session.interrupt(), Some(0));
    assert!(fs::read_dir(temporary.path()).unwrap().next().is_none(), "its folder is gone");
    assert_eq!(processes("sleep 1000.25"), [0_i32; 0]);
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    let said = crate::program::run(["dev", "no/such/folder"]);
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("failed to find the folder no/such/folder"), "{said:?}");
}
