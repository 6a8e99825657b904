//! Results.

use engine::dispatch::{Outcome, ResultRef};
use serde_json::json;

use super::{Bench, Harness};

pub(super) async fn a_result_is_reported<H: Harness>(mut bench: Bench<H>) {
    for (written, expected, mapped) in [
        ("[\"berlin\", \"rome\"]", json!(["berlin", "rome"]), Some(2)),
        ("{\"a\": 1}", json!({ "a": 1 }), Some(1)),
        ("[]", json!([]), Some(0)),
        ("\"text\"", json!("text"), None),
        ("12.5", json!(12.5), None),
        ("null", json!(null), None),
    ] {
        let (_, end) = bench.run(&format!("echo '{written}' > $UPDRAFT_RESULT")).await;
        assert_eq!(end.outcome, Outcome::Success, "{end:?}");
        assert_eq!((end.result, end.mapped_length), (Some(ResultRef::Inline(expected)), mapped), "{written}");
    }
    let (_, end) = bench.run("touch $UPDRAFT_RESULT").await;
    assert_eq!((end.outcome, end.result), (Outcome::Success, None));
    let (_, end) = bench.run("echo 1 > $UPDRAFT_RESULT; exit 1").await;
    assert_eq!((end.outcome, end.result), (Outcome::Failed, None), "a failed attempt has no result");
}

pub(super) async fn a_bad_result_fails_the_attempt<H: Harness>(mut bench: Bench<H>) {
    for (command, expected) in [
        ("printf '{\"a\": 1,\\n \"b\": oops}' > $UPDRAFT_RESULT", "line 2 column 7"),
        ("head -c 2000000 /dev/zero | tr '\\0' 1 > $UPDRAFT_RESULT", "at most 1048576"),
        ("mkfifo $UPDRAFT_RESULT", "not a regular file"),
        ("ln -s /etc/hostname $UPDRAFT_RESULT", "can't be read"),
    ] {
        let (_, end) = bench.run(command).await;
        assert_eq!((&end.outcome, end.exit_code), (&Outcome::Failed, Some(0)), "{command}: {end:?}");
        let reason = end.reason.unwrap();
        assert!(reason.contains("UPDRAFT_RESULT") && reason.contains(expected), "{command}: {reason}");
    }
}

pub(super) async fn a_long_result_is_stored<H: Harness>(mut bench: Bench<H>) {
    let (_, end) = bench.run("seq 20000 | paste -sd, | sed 's/.*/[&]/' > $UPDRAFT_RESULT").await;
    assert_eq!((&end.outcome, end.mapped_length), (&Outcome::Success, Some(20_000)), "{end:?}");
    let Some(ResultRef::Stored { digest, bytes }) = end.result else { panic!("{:?}", end.result) };
    assert_eq!((digest.len(), bytes), (64, 108_895));
}
