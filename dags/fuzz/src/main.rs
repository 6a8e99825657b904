//! `updraft-fuzz`: gives inputs to a target, in a process with limits. The gate's tests and `cargo xtask fuzz` start it.
//!
//! Before each input it prints `input NAME`, so that whoever started it knows which one ended the process.

use std::{fmt::Display, fs, process::ExitCode};

use updraft_fuzz::{
    Target,
    confine::{self, Watch},
    hostile,
    mutate::Mixer,
    seeds,
    targets::Probe,
    words,
};

const USAGE: &str =
    "usage: updraft-fuzz TARGET files FILE... | mutations FROM COUNT | hostile NAME | write NUMBER FILE
TARGET: yaml, rhai, cron or template";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// An input's name and its bytes.
type Inputs = Box<dyn Iterator<Item = Result<(String, Vec<u8>), String>> + Send>;

fn run(arguments: &[String]) -> Result<(), String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [target, job, rest @ ..] = arguments.as_slice() else { return Err(USAGE.to_owned()) };
    let target = Target::named(target).ok_or(USAGE)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is not a number\n{USAGE}"));
    let (inputs, full): (Inputs, bool) = match (*job, rest) {
        ("files", files) => {
            let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
            let read = |file: String| match fs::read(&file) {
                Ok(bytes) => Ok((file, bytes)),
                Err(error) => Err(failed(&format!("read {file}"), error)),
            };
            (Box::new(files.into_iter().map(read)), true)
        }
        ("mutations", [from, count]) => {
            let (from, mixer) = (number(from)?, mixer(target)?);
            let numbers = from..from.saturating_add(number(count)?);
            (Box::new(numbers.map(move |number| Ok((number.to_string(), mixer.input(number))))), false)
        }
        ("hostile", [name]) => {
            let found = hostile::ALL.iter().find(|hostile| hostile.target == target && hostile.name == *name);
            let found = found.ok_or_else(|| format!("{} has no hostile input {name}", target.name()))?;
            (Box::new(std::iter::once_with(|| Ok((found.name.to_owned(), (found.make)())))), true)
        }
        ("write", [number_text, file]) => {
            let input = mixer(target)?.input(number(number_text)?);
            return fs::write(file, input).map_err(|error| failed(&format!("write {file}"), error));
        }
        _ => return Err(USAGE.to_owned()),
    };
    let limits = target.limits();
    confine::limit_memory(&limits).map_err(|error| failed("limit the memory", error))?;
    let watch = Watch::start(limits).map_err(|error| failed("start the watch", error))?;
    let work = move || -> Result<(), String> {
        let probe = Probe::new(target, full);
        // What is made on first use isn't the first input's.
        probe.take(String::new());
        for input in inputs {
            let (name, bytes) = input?;
            println!("input {name}");
            watch.next();
            let text = String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            match confine::growth_kib(|| probe.take(text)) {
                Some(growth) if growth > limits.growth_kib => {
                    return Err(format!(
                        "the input took {growth} KiB of memory; at most {} are allowed",
                        limits.growth_kib
                    ));
                }
                Some(growth) => println!("memory {growth} KiB"),
                None => println!("memory unknown"),
            }
        }
        Ok(())
    };
    let thread =
        std::thread::Builder::new().name("inputs".to_owned()).stack_size(limits.stack_bytes).spawn(work);
    let thread = thread.map_err(|error| failed("start a thread", error))?;
    thread.join().map_err(|_| "the target panicked".to_owned())?
}

fn mixer(target: Target) -> Result<Mixer, String> {
    let seeds = seeds::read(target).map_err(|error| failed("read the seeds", error))?;
    Ok(Mixer::new(&seeds, words::of(target)))
}

fn failed(what: &str, error: impl Display) -> String {
    format!("failed to {what}: {error}")
}
