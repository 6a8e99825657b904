//! Sequences of Python tasks that compute Fibonacci numbers, as Windmill published them.

use std::{fmt::Write as _, process::Command, time::Instant};

use anyhow::{Context as _, ensure};

use crate::{
    Size,
    clock::seconds,
    figures::Figures,
    load::{file, last_end},
    place::Place,
};

fn code(n: u32) -> String {
    format!(
        "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n\nfibonacci({n})\n"
    )
}

/// The interpreter itself: the system's, or else what `python3` means, which may be a script that looks for one.
pub(crate) fn interpreter() -> anyhow::Result<String> {
    let system = "/usr/bin/python3";
    let program = if std::path::Path::new(system).exists() { system } else { "python3" };
    let asked = Command::new(program).args(["-c", "import sys; print(sys.executable)"]).output();
    let asked = asked.context("failed to start python3, which this measures")?;
    ensure!(asked.status.success(), "python3 fails: {}", String::from_utf8_lossy(&asked.stderr));
    Ok(String::from_utf8(asked.stdout)?.trim().to_owned())
}

fn dag(name: &str, tasks: usize, n: u32, interpreter: &str) -> String {
    let code = code(n).replace('\n', "\n        ");
    let mut text = format!("dag: {name}\ntasks:\n");
    for task in 0..tasks {
        let needs = if task == 0 { String::new() } else { format!("    needs: step_{:02}\n", task - 1) };
        write!(
            text,
            "  step_{task:02}:\n{needs}    python:\n      interpreter: {interpreter}\n      code: |\n        {code}\n"
        )
        .expect("invariant: text takes everything");
    }
    text
}

/// The same programs one after the other without anything around them, in seconds.
fn bare(tasks: usize, n: u32, interpreter: &str) -> anyhow::Result<f64> {
    let start = Instant::now();
    for _ in 0..tasks {
        ensure!(Command::new(interpreter).args(["-c", &code(n)]).status()?.success(), "the program fails");
    }
    Ok(start.elapsed().as_secs_f64())
}

pub(crate) async fn measure(size: Size) -> anyhow::Result<Figures> {
    let place = Place::new().await?;
    let service = place.serve(&[])?;
    let interpreter = interpreter()?;
    let dags = [("short", size.short), ("long", size.long)];
    let files = dags.map(|(name, (tasks, n))| file(name, &dag(name, tasks, n, &interpreter)));
    place.load(&files).await?;
    let mut figures = Figures::default();
    for (name, (tasks, n)) in dags {
        let without = bare(tasks, n, &interpreter)?;
        let before = service.spent()?;
        let asked = place.trigger(name, "r").await?;
        let runs = place.ended(name, 1).await?;
        let spent = service.since(&before)?;
        place.tasks(&runs[0]).await?;
        let took = seconds(asked, last_end(&runs)?);
        let (value, aim) = if name == "short" {
            (format!("{took:.2} s"), "1.2 s")
        } else {
            (format!("{took:.2} s, {:+.1} %", (took / without - 1.0) * 100.0), "+5 %")
        };
        let what = format!("{tasks} sequential Python tasks of fibonacci({n})");
        figures.add(&what, value, aim, format!("bare Python {without:.2} s; {spent}"));
    }
    service.end()?;
    place.close().await?;
    Ok(figures)
}
