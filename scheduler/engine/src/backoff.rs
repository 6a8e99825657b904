//! How long a failed attempt waits before it is repeated.
//!
//! Airflow's formula, with its hash: the wait lies between the backoff and twice it, and the same attempt always waits
//! equally long. So nothing has to be stored, a replay gives the same instants, and attempts that failed together spread.

use std::fmt::Write as _;

use dags::{
    ids::{DagId, TaskId},
    model::Jitter,
    time::{Span, Timestamp},
};
use sha1::{Digest as _, Sha1};

/// The longest wait that growth leads to. A constant wait may be longer.
pub const GROWN_DELAY_MAX: Span = Span::seconds(86_400);

/// A task's rule for waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The wait before the first retry.
    pub delay: Span,
    /// What the wait is multiplied with from one retry to the next. 0 and 1 keep it constant, without the deterministic
    /// spread.
    pub multiplier: f64,
    /// The longest wait, spread included.
    pub max_delay: Option<Span>,
    /// How the wait is spread.
    pub jitter: Jitter,
}

/// The wait between the end of try number `try_number` (from 1) and the next try.
pub fn retry_delay(
    policy: &Policy,
    dag_id: &DagId,
    task_id: &TaskId,
    logical_date: Option<Timestamp>,
    try_number: u32,
) -> Span {
    let cap = policy.max_delay.unwrap_or(Span(i64::MAX));
    let grows = grows(policy.multiplier);
    let hash = || digest(dag_id, task_id, logical_date, try_number);
    match (policy.jitter, grows) {
        (Jitter::Deterministic, false) => policy.delay.min(cap),
        (Jitter::Deterministic, true) => {
            let least = backoff_seconds(policy, try_number);
            let spread = if least < day() { remainder(&hash(), least) } else { 0 };
            Span::seconds((least + spread) as i64).min(GROWN_DELAY_MAX).min(cap)
        }
        (Jitter::Full, _) => {
            let most =
                if grows { Span::seconds(backoff_seconds(policy, try_number) as i64) } else { policy.delay };
            Span(remainder(&hash(), most.min(cap).0 as u64 + 1) as i64)
        }
    }
}

fn grows(multiplier: f64) -> bool {
    multiplier > 0.0 && (multiplier - 1.0).abs() > f64::EPSILON
}

const fn day() -> u64 {
    (GROWN_DELAY_MAX.0 / 1_000_000) as u64
}

/// The backoff in whole seconds, between one second and [`GROWN_DELAY_MAX`].
fn backoff_seconds(policy: &Policy, try_number: u32) -> u64 {
    let retries = f64::from(try_number.saturating_sub(1));
    let seconds = (policy.delay.0 as f64 / 1e6 * policy.multiplier.powf(retries)).ceil();
    // A conversion from float saturates, so what overflows is capped; zero times infinity is no number and no wait.
    (seconds as u64).clamp(1, day())
}

/// The hash of Airflow: of `dag#task#date#try`, the date as Python prints it.
fn digest(dag_id: &DagId, task_id: &TaskId, logical_date: Option<Timestamp>, try_number: u32) -> [u8; 20] {
    let date = logical_date.map_or_else(|| "None".to_owned(), |date| date.airflow().replacen('T', " ", 1));
    let mut text = String::with_capacity(96);
    write!(text, "{dag_id}#{task_id}#{date}#{try_number}")
        .expect("invariant: a string takes whatever is written");
    Sha1::digest(text).into()
}

/// The remainder of a number of 160 bits.
fn remainder(number: &[u8; 20], divisor: u64) -> u64 {
    let divisor = u128::from(divisor);
    number.iter().fold(0_u128, |rest, byte| (rest << 8 | u128::from(*byte)) % divisor) as u64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        base_s: i64,
        multiplier: f64,
        max_retry_delay_s: Option<i64>,
        try_number: u32,
        dag_id: DagId,
        task_id: TaskId,
        logical_date: String,
        delay_s: f64,
    }

    #[test]
    fn as_airflow_executed() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/retry-backoff.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let vectors: Vec<Vector> = serde_json::from_str(&text).unwrap();
        assert!(vectors.len() >= 25);
        for vector in vectors {
            let policy = Policy {
                delay: Span::seconds(vector.base_s),
                multiplier: vector.multiplier,
                max_delay: vector.max_retry_delay_s.map(Span::seconds),
                jitter: Jitter::Deterministic,
            };
            let date: Timestamp = vector.logical_date.parse().unwrap();
            let delay = retry_delay(&policy, &vector.dag_id, &vector.task_id, Some(date), vector.try_number);
            assert_eq!(delay, Span((vector.delay_s * 1e6) as i64), "{policy:?}, try {}", vector.try_number);
        }
    }

    fn wait(policy: &Policy, date: Option<&str>, try_number: u32) -> Span {
        let (dag, task) = (DagId::parse("d").unwrap(), TaskId::parse("t").unwrap());
        retry_delay(policy, &dag, &task, date.map(|date| date.parse().unwrap()), try_number)
    }

    #[test]
    fn the_date_is_hashed_as_python_prints_it() {
        let policy =
            Policy { delay: Span::seconds(300), multiplier: 2.0, max_delay: None, jitter: Jitter::default() };
        // sha1("d#t#2026-11-21 06:00:00.250000+00:00#2") mod 600, sha1("d#t#None#2") mod 600
        assert_eq!(wait(&policy, Some("2026-11-21T06:00:00.25Z"), 2), Span::seconds(600 + 294));
        assert_eq!(wait(&policy, None, 2), Span::seconds(600 + 290));
    }

    #[test]
    fn a_constant_wait_knows_only_its_own_cap() {
        let policy = Policy {
            delay: Span::seconds(200_000),
            multiplier: 1.0,
            max_delay: None,
            jitter: Jitter::default(),
        };
        assert_eq!(wait(&policy, None, 9), Span::seconds(200_000));
        let capped = Policy { max_delay: Some(Span::seconds(60)), ..policy };
        assert_eq!(wait(&capped, None, 9), Span::seconds(60));
    }

    proptest! {
        #[test]
        fn waits_stay_in_their_range(
            delay in 0..200_000_000_000_i64,
            multiplier in prop_oneof![0.0..10.0, Just(0.0), Just(1.0), Just(f64::MAX), Just(f64::INFINITY), Just(f64::NAN)],
            max_delay in proptest::option::of(0..200_000_000_000_i64),
            try_number: u32,
        ) {
            let policy = |jitter| Policy { delay: Span(delay), multiplier, max_delay: max_delay.map(Span), jitter };
            let spread = wait(&policy(Jitter::Deterministic), None, try_number);
            let full = wait(&policy(Jitter::Full), None, try_number);
            let most = if grows(multiplier) { GROWN_DELAY_MAX.0 } else { delay };
            let most = Span(most.min(max_delay.unwrap_or(i64::MAX)));
            prop_assert!(Span::ZERO <= spread && spread <= most, "{spread} of at most {most}");
            prop_assert!(Span::ZERO <= full && full <= most, "{full} of at most {most}");
        }
    }

    #[test]
    fn full_jitter_fills_the_backoff() {
        let policy =
            Policy { delay: Span::seconds(100), multiplier: 2.0, max_delay: None, jitter: Jitter::Full };
        for try_number in 1..4 {
            let dag = DagId::parse("d").unwrap();
            let task = |n: u32| TaskId::parse(&format!("t{n}")).unwrap();
            let waits: Vec<Span> =
                (0..200).map(|n| retry_delay(&policy, &dag, &task(n), None, try_number)).collect();
            let most = Span::seconds(100 << (try_number - 1));
            assert!(waits.iter().any(|wait| wait.0 < most.0 / 10));
            assert!(waits.iter().any(|wait| wait.0 > most.0 / 10 * 9));
            assert!(waits.iter().all(|wait| *wait <= most));
        }
    }
}
