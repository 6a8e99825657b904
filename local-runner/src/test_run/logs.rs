//! What a task wrote, found before the folder of the run is gone.

use dags::ids::DispatchId;
use engine::rows::TaskRow;
use executor::{
    Executor as _,
    log::{LogLine, Stream},
};
use scheduler::{executors::Kind, objects::Objects};

/// More lines than this of one log aren't kept in memory; the beginning goes.
const LINES_MAX: usize = 100_000;

/// What one attempt wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Its lines, in order.
    pub lines: Vec<String>,
    /// How many more there were before them.
    pub dropped: usize,
}

/// The log of the last dispatch of a task instance, with all members one after the other.
pub(crate) async fn read(row: &TaskRow, members: u32, executor: &Kind, objects: &Objects) -> Log {
    let dispatch = DispatchId { attempt: row.attempt(), n: row.dispatch_n };
    let mut log = Log::default();
    if row.dispatch_n == 0 {
        return log;
    }
    for member in 0..members {
        if members > 1 {
            log.lines.push(format!("-- member {member}"));
        }
        for line in lines(dispatch, member, executor, objects).await {
            log.push(line);
        }
    }
    log
}

impl Log {
    fn push(&mut self, line: LogLine) {
        let text = match line.stream {
            Stream::Stdout | Stream::Stderr => line.text,
            Stream::Supervisor => format!("[updraft] {}", line.text),
        };
        self.lines.push(text);
        if self.lines.len() >= 2 * LINES_MAX {
            self.dropped += LINES_MAX;
            self.lines.drain(..LINES_MAX);
        }
    }
}

/// From the object store if the shell has put it there, else from the executor, which keeps it until that is done.
async fn lines(dispatch: DispatchId, member: u32, executor: &Kind, objects: &Objects) -> Vec<LogLine> {
    let path = objects.log(dispatch, member);
    let mut lines = Vec::new();
    let mut offset = 0;
    loop {
        if let Ok(text) = std::fs::read_to_string(&path) {
            return text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        }
        match executor.logs(dispatch, member, offset).await {
            Ok(chunk) => {
                lines.extend(chunk.lines);
                if chunk.complete || chunk.next <= offset {
                    return lines;
                }
                offset = chunk.next;
            }
            // Stored in between, so that the file is there now; or an attempt that never started.
            Err(_) if path.exists() => {}
            Err(_) => return lines,
        }
    }
}
