//! What of a worker's report is believed: a worker of one tenant must not learn, spend or break what belongs to others.

use std::sync::Arc;

use engine::dispatch::{End, News, Outcome, Report, ResultRef};

use super::Kept;
use crate::result::{INLINE_BYTES_MAX, RESULT_BYTES_MAX};

/// The longest reason and the longest name of a host that are kept, in bytes.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Those of the reports that can be looked at, as they count.
pub(super) async fn all(reports: Vec<Report>, kept: Arc<dyn Kept>) -> Vec<Report> {
    let look = |reports: Vec<Report>, kept: &dyn Kept| {
        let look = |report: Report| {
            let dispatch = report.dispatch;
            believed(report, kept)
                // The worker sends it again.
                .inspect_err(|error| tracing::warn!(%dispatch, %error, "a result can't be looked at"))
                .ok()
        };
        reports.into_iter().filter_map(look).collect::<Vec<_>>()
    };
    if !reports.iter().any(needs_files) {
        return look(reports, &*kept);
    }
    let looked = tokio::task::spawn_blocking(move || look(reports, &*kept)).await;
    looked.unwrap_or_else(|error| {
        tracing::error!(%error, "reports could not be looked at; their worker sends them again");
        Vec::new()
    })
}

/// The report as it counts. Sizes and numbers of elements are found here, not taken from it.
pub(crate) fn believed(mut report: Report, kept: &dyn Kept) -> std::io::Result<Report> {
    let dispatch = report.dispatch;
    match &mut report.news {
        News::Started { host, .. } => cut(host),
        News::Ended(end) => {
            if let Some(reason) = &mut end.reason {
                cut(reason);
            }
            let length = match &mut end.result {
                None => Ok(None),
                Some(ResultRef::Inline(value)) => match value.to_string().len() {
                    0..=INLINE_BYTES_MAX => Ok(End::success(Some(value.clone())).mapped_length),
                    bytes => Err(format!("its worker sent a result of {bytes} bytes without storing it")),
                },
                Some(ResultRef::Stored { digest, bytes }) => match kept.result(dispatch, digest)? {
                    Some(stored) if stored.bytes <= RESULT_BYTES_MAX => {
                        *bytes = stored.bytes;
                        Ok(stored.mapped_length)
                    }
                    Some(_) | None => Err("its worker reported a result that it hadn't stored".to_owned()),
                },
            };
            match length {
                Ok(length) => end.mapped_length = length,
                Err(reason) => {
                    tracing::error!(%dispatch, reason, "a worker's report isn't believed");
                    (end.result, end.mapped_length) = (None, None);
                    (end.outcome, end.reason) = (Outcome::Failed, Some(reason));
                }
            }
        }
    }
    Ok(report)
}

/// Whether looking at it means looking at files.
fn needs_files(report: &Report) -> bool {
    matches!(&report.news, News::Ended(End { result: Some(ResultRef::Stored { .. }), .. }))
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use dags::ids::{AttemptId, DispatchId};
    use serde_json::{Value, json};

    use super::*;
    use crate::{fleet::StoredResult, log::LogChunk};

    /// One dispatch has stored one result.
    struct One(DispatchId);

    impl Kept for One {
        fn log(&self, _: DispatchId, _: u32, _: u64) -> io::Result<Option<LogChunk>> {
            Ok(None)
        }

        fn result(&self, dispatch: DispatchId, digest: &str) -> io::Result<Option<StoredResult>> {
            let stored = StoredResult { bytes: 70_000, mapped_length: Some(9) };
            Ok((dispatch == self.0 && digest == "abc").then_some(stored))
        }
    }

    #[test]
    fn sizes_are_found_and_foreign_results_refused() {
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        let (own, other) = (DispatchId { attempt, n: 1 }, DispatchId { attempt, n: 2 });
        let says = |dispatch, result: ResultRef| {
            let end = End {
                result: Some(result),
                mapped_length: Some(u32::MAX),
                reason: Some("é".repeat(TEXT_BYTES_MAX)),
                ..End::success(None)
            };
            let report = Report::new(dispatch, 0, 1, News::Ended(end));
            match believed(report, &One(own)).unwrap().news {
                News::Ended(end) => end,
                News::Started { .. } => unreachable!(),
            }
        };
        let inline = |value: Value| says(own, ResultRef::Inline(value));
        let list = inline(json!([1, 2]));
        assert_eq!((list.outcome, list.mapped_length), (Outcome::Success, Some(2)));
        assert!(list.reason.unwrap().len() < TEXT_BYTES_MAX + 8);
        assert_eq!(inline(json!("text")).mapped_length, None);
        // At the limit, and one byte more; the text has two quotation marks.
        assert_eq!(inline(json!("x".repeat(INLINE_BYTES_MAX - 2))).outcome, Outcome::Success);
        let long = inline(json!("x".repeat(INLINE_BYTES_MAX - 1)));
        assert_eq!((long.outcome, long.result), (Outcome::Failed, None));
        let stored = |dispatch, digest: &str| {
            says(dispatch, ResultRef::Stored { digest: digest.to_owned(), bytes: 1 })
        };
        let mine = stored(own, "abc");
        assert_eq!(mine.mapped_length, Some(9));
        assert_eq!(mine.result, Some(ResultRef::Stored { digest: "abc".to_owned(), bytes: 70_000 }));
        for (dispatch, digest) in [(other, "abc"), (own, "abd")] {
            let refused = stored(dispatch, digest);
            assert_eq!((refused.outcome, refused.result), (Outcome::Failed, None), "{digest}");
        }
    }
}
