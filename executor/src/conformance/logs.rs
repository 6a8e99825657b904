//! Logs.

use engine::dispatch::Outcome;

use super::{Bench, Harness, bench::connection};
use crate::{
    Executor as _,
    log::{LINE_BYTES_MAX, Stream},
};

pub(super) async fn a_log_is_read_while_it_grows_and_after<H: Harness>(mut bench: Bench<H>) {
    let pipe = bench.pipe("go");
    let id = bench.submit(bench.bash("echo one; echo two >&2; read < go; echo three")).await;
    bench.wait_for_line(id, "one").await;
    bench.wait_for_line(id, "two").await;
    let executor = bench.harness.executor();
    let during = executor.logs(id, 0, 0).await.unwrap();
    assert!(!during.complete && during.lines.len() == 2, "{during:?}");
    bench.release(pipe).await;
    bench.ended(id).await;
    let rest = executor.logs(id, 0, during.next).await.unwrap();
    assert_eq!(rest.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["three"]);
    assert!(rest.complete);
    let whole = executor.logs(id, 0, 0).await.unwrap();
    assert_eq!(whole.lines, [during.lines, rest.lines].concat());
    let of = |text: &str| whole.lines.iter().find(|line| line.text == text).map(|line| line.stream);
    assert_eq!((of("one"), of("two")), (Some(Stream::Stdout), Some(Stream::Stderr)));
    assert!(whole.lines.last().unwrap().at >= whole.lines[0].at);
}

pub(super) async fn a_long_line_comes_in_parts<H: Harness>(mut bench: Bench<H>) {
    let (id, _) = bench.run("head -c 200000 /dev/zero | tr '\\0' x; echo; echo after").await;
    let lines = bench.log(id).await;
    let (after, parts) = lines.split_last().unwrap();
    assert_eq!(after.text, "after");
    assert!(parts.len() >= 4 && parts.iter().all(|part| part.text.len() <= LINE_BYTES_MAX));
    assert_eq!(parts.iter().map(|part| part.text.len()).sum::<usize>(), 200_000);
    let (last, others) = parts.split_last().unwrap();
    assert!(!last.continues && others.iter().all(|part| part.continues));
}

pub(super) async fn a_huge_log_is_cut_with_a_word<H: Harness>(mut bench: Bench<H>) {
    let max = bench.harness.log_bytes_max();
    let command = format!("head -c {} /dev/zero | tr '\\0' x | fold -w 999; echo the end", 3 * max);
    let (id, end) = bench.run(&command).await;
    assert_eq!(end.outcome, Outcome::Success, "{end:?}");
    let lines = bench.log(id).await;
    let last = lines.last().unwrap();
    assert!(last.stream == Stream::Supervisor && last.text.contains("limit"), "{last:?}");
    assert!(last.offset <= max + 2 * LINE_BYTES_MAX as u64, "{last:?}");
}

pub(super) async fn binary_output_is_no_problem<H: Harness>(mut bench: Bench<H>) {
    let (id, end) = bench.run("head -c 300000 /dev/urandom; printf '\\n\\000\\377\\n'; echo after").await;
    assert_eq!(end.outcome, Outcome::Success);
    let texts = bench.texts(id).await;
    assert_eq!(texts[texts.len() - 2..], ["\0\u{fffd}", "after"]);
}

pub(super) async fn a_line_without_an_end_is_shown<H: Harness>(mut bench: Bench<H>) {
    let pipe = bench.pipe("go");
    let id = bench.submit(bench.bash("printf 'password: '; read < go; echo thanks")).await;
    bench.wait_for_line(id, "password: ").await;
    assert!(bench.log(id).await[0].continues);
    bench.release(pipe).await;
    bench.ended(id).await;
    assert_eq!(bench.texts(id).await, ["password: ", "thanks"]);
}

pub(super) async fn secrets_are_masked<H: Harness>(mut bench: Bench<H>) {
    const SECRET: &str = "cor/rect horse";
    let mut work = bench.bash(
        "echo \"a $PASSWORD b\"; printf 'x cor/rec'; printf 't horse y\\n'; printf \"user:$PASSWORD\" | base64
         echo \"[\\\"$PASSWORD\\\"]\" > $UPDRAFT_RESULT; echo cor%2Frect%20horse >&2; printf 'end cor/re'",
    );
    work.context.connections.insert("shop".to_owned(), connection(SECRET));
    work.context.task.env.insert("PASSWORD".to_owned(), SECRET.to_owned());
    let id = bench.submit(work.clone()).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::Success, "{end:?}");
    assert_eq!(end.result, Some(engine::dispatch::ResultRef::Inline(serde_json::json!(["***"]))));
    let lines = bench.texts(id).await;
    for expected in ["a *** b", "x *** y", "***", "end ***"] {
        assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("horse") || line.contains("aG9yc2")), "{lines:?}");
    let mut failing = bench.bash("echo \"can't sign in with $PASSWORD\" >&2; exit 1");
    failing.context.connections = work.context.connections;
    failing.context.task.env = work.context.task.env;
    let id = bench.submit(failing).await;
    let reason = bench.ended(id).await.reason.unwrap();
    assert!(reason.contains("sign in with ***"), "{reason}");
}
