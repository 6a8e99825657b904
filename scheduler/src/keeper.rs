//! Keeps the logs of what has ended, and only then lets the executor forget it.

use engine::driver::Receipt;
use executor::{Executor as _, log::LogLine};

use crate::{
    clock,
    executors::{Executors, Kind},
    objects::Objects,
};

/// Tries before a log is given up; the executor still keeps it then.
const TRIES: u32 = 5;

/// Copies the log of an ended member into the object store and confirms its end.
pub(crate) async fn keep(executors: &Executors, holder: Option<&Kind>, objects: &Objects, receipt: Receipt) {
    let candidates: Vec<&Kind> = match holder {
        Some(holder) => vec![holder],
        None => executors.values().collect(),
    };
    for executor in candidates {
        for attempt in 1..=TRIES {
            match keep_one(executor, objects, receipt).await {
                Ok(()) | Err(executor::Error::Unknown { .. }) => break,
                Err(error) if attempt == TRIES => {
                    tracing::error!(attempt = %receipt.dispatch.attempt, dispatch = %receipt.dispatch, %error, "failed to keep a log; its executor still has it");
                }
                Err(_) => clock::sleep(dags::time::Span::millis(200 << attempt)).await,
            }
        }
    }
}

async fn keep_one(executor: &Kind, objects: &Objects, receipt: Receipt) -> Result<(), executor::Error> {
    if matches!(executor, Kind::Local(_) | Kind::Mock(_)) {
        let path = objects.log(receipt.dispatch, receipt.member);
        let (mut text, mut offset) = (Vec::new(), 0);
        loop {
            let chunk = executor.logs(receipt.dispatch, receipt.member, offset).await?;
            for line in &chunk.lines {
                append(&mut text, line);
            }
            if chunk.complete || chunk.next <= offset {
                break;
            }
            offset = chunk.next;
        }
        let written = tokio::task::spawn_blocking(move || Objects::write(&path, &text)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|error| executor::Error::Unavailable(format!("the log can't be stored: {error}")))?;
    }
    executor.confirm(receipt.dispatch, receipt.member).await
}

fn append(text: &mut Vec<u8>, line: &LogLine) {
    if serde_json::to_writer(&mut *text, line).is_ok() {
        text.push(b'\n');
    }
}
