//! Every target over its files, over a fixed number of mutations, and over the inputs that are hostile by name.
//!
//! Each job runs in a child process with limits on memory and time. An input that ends the child is kept in
//! `target/fuzz` and named with the command that replays it.

#![cfg(test)]

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};

use updraft_fuzz::{Target, hostile, seeds};

type Checked = Result<(), Box<dyn Error>>;

macro_rules! target {
    ($name:ident, $target:expr, $mutations:literal) => {
        mod $name {
            use super::*;

            #[test]
            fn takes_its_files() -> Checked {
                files($target)
            }

            #[test]
            fn takes_mutations() -> Checked {
                mutations($target, $mutations)
            }

            #[test]
            fn survives_what_is_made_to_order() -> Checked {
                made_to_order($target)
            }
        }
    };
}

// A second or two of mutations each.
target!(yaml, Target::Yaml, 1_500);
target!(rhai, Target::Rhai, 6_000);
target!(cron, Target::Cron, 20_000);
target!(template, Target::Template, 4_000);

/// How a child ended.
enum Ended {
    Well {
        memory: String,
    },
    /// By the limit on memory, as scripts may; with the input's name.
    OutOfMemory(String),
    Badly {
        input: String,
        why: String,
    },
}

fn child(target: Target, arguments: &[String]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_updraft-fuzz"))
        .arg(target.name())
        .args(arguments)
        .output()
        .expect("the program starts");
    let Output { status, stdout, stderr } = output;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let last = |word: &str| {
        stdout.lines().rev().find_map(|line| line.strip_prefix(word)).unwrap_or("none yet").to_owned()
    };
    if status.success() {
        Ended::Well { memory: last("memory ") }
    } else if target.may_meet_memory_limit() && stderr.contains("memory allocation of") {
        Ended::OutOfMemory(last("input "))
    } else {
        Ended::Badly { input: last("input "), why: format!("{status}\n{stderr}") }
    }
}

fn replay(target: Target, file: &Path) -> String {
    format!("replay it with: cargo xtask fuzz {} --replay {}", target.name(), file.display())
}

fn files(target: Target) -> Checked {
    let files: Vec<String> =
        seeds::files(target)?.into_iter().map(|path| path.to_string_lossy().into_owned()).collect();
    if files.is_empty() {
        return Err("there are no seeds".into());
    }
    let mut arguments = vec!["files".to_owned()];
    arguments.extend(files.iter().cloned());
    match child(target, &arguments) {
        Ended::Well { .. } => Ok(()),
        // A committed input would hide those after it.
        Ended::OutOfMemory(input) => Err(format!("{input} meets the limit on memory").into()),
        Ended::Badly { input, why } => {
            Err(format!("{input}: {why}\n{}", replay(target, Path::new(&input))).into())
        }
    }
}

fn mutations(target: Target, count: u64) -> Checked {
    let mut from = 0;
    let mut stops = 0;
    while from < count {
        match child(target, &["mutations".to_owned(), from.to_string(), (count - from).to_string()]) {
            Ended::Well { .. } => break,
            Ended::OutOfMemory(input) => {
                stops += 1;
                from = input.parse::<u64>()? + 1;
            }
            Ended::Badly { input, why } => {
                let kept = keep(target, &input)?;
                return Err(format!("mutation {input}: {why}\n{}", replay(target, &kept)).into());
            }
        }
    }
    println!("{}: {count} mutations, {stops} met the limit on memory", target.name());
    Ok(())
}

/// Writes a mutation to a file.
fn keep(target: Target, number: &str) -> Result<PathBuf, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../fuzz").join(target.name());
    std::fs::create_dir_all(&folder)?;
    let file = folder.canonicalize()?.join(format!("mutation-{number}"));
    let path = file.to_string_lossy().into_owned();
    let status = Command::new(env!("CARGO_BIN_EXE_updraft-fuzz"))
        .args([target.name(), "write", number, &path])
        .status()?;
    if status.success() { Ok(file) } else { Err(format!("failed to write {path}").into()) }
}

/// All are tried, so that one failure doesn't hide another.
fn made_to_order(target: Target) -> Checked {
    let mut failures = Vec::new();
    for hostile in hostile::ALL.iter().filter(|hostile| hostile.target == target) {
        let name = hostile.name;
        let began = Instant::now();
        let said = match child(target, &["hostile".to_owned(), name.to_owned()]) {
            Ended::Well { memory } => memory,
            Ended::OutOfMemory(_) => "met the limit on memory".to_owned(),
            Ended::Badly { why, .. } => {
                failures.push(format!("{name}: {why}"));
                "FAILED".to_owned()
            }
        };
        println!("{:<9} {name:<24} {:>6.2} s  {said}", target.name(), began.elapsed().as_secs_f64());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}
