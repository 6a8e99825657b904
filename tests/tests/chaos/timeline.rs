//! What was done to whom and when, and what each process wrote meanwhile: written out when the test fails.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use dags::time::Timestamp;

/// A record that everybody adds to.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    start: Instant,
    /// With the wall clock, as the processes' logs have it.
    entries: Arc<Mutex<Vec<(String, String)>>>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), entries: Arc::default() }
    }

    /// Adds something that the test did or saw.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let what = what.into();
        let seconds = self.start.elapsed().as_secs_f64();
        println!("{seconds:8.2}  {what}");
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push((wall().to_string(), format!("TEST {seconds:.2}: {what}")));
    }

    /// Writes everything into a folder: the processes' logs as they are, and all of it in the order of time.
    pub(crate) fn write(&self, folder: &Path, logs: &[PathBuf]) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut lines = self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for log in logs {
            let name = log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            fs::copy(log, folder.join(format!("{name}.log")))?;
            // Lines without a time, such as those of a panic, belong to the line before.
            let mut at = String::new();
            for line in String::from_utf8_lossy(&fs::read(log)?).lines() {
                let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
                let time = value.as_ref().and_then(|value| value.get("timestamp")?.as_str());
                at = time.map_or(at, str::to_owned);
                lines.push((at.clone(), format!("{name}: {line}")));
            }
        }
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        let mut text = String::new();
        for (at, line) in lines {
            writeln!(text, "{at} {line}").expect("invariant: text takes everything");
        }
        fs::write(folder.join("timeline.txt"), text)
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as i64)
}
