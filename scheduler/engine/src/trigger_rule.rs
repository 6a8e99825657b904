//! Whether a task instance may start, given how far its direct upstream instances are.
//!
//! Pure arithmetic on counters that the engine keeps per instance, so that a finished task costs its successors a few
//! comparisons and no look at their other neighbours. The rules are Airflow's; the one departure is `all_skipped`, for
//! which a removed upstream counts as absent (in Airflow it waits for ever).

use dags::model::TriggerRule;

/// How the direct upstream instances of a task instance ended. What is missing to `total` hasn't ended yet.
///
/// What the caller must see to:
///
/// * Inside a mapped group only the upstream instances of the same index count, outside all of them.
/// * An upstream task that isn't expanded yet counts as one unfinished instance: its placeholder. Expansion replaces it,
///   in `total` too, before any of the new instances ends. An empty expansion makes it one skipped instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upstream {
    /// How many there are.
    pub total: u32,
    /// How many succeeded.
    pub success: u32,
    /// How many failed.
    pub failed: u32,
    /// How many were skipped.
    pub skipped: u32,
    /// How many couldn't run because theirs failed.
    pub upstream_failed: u32,
    /// How many no longer exist, because the DAG or a mapped length changed.
    pub removed: u32,
    /// Whether the instance that is asked about is itself the placeholder (map index -1) of a task that isn't expanded
    /// yet. The rules that fire on a first outcome (`one_*`, `always`, `none_failed_min_one_success`) then wait for all
    /// upstreams: its indices must decide, each on its own. Whatever the rule, the engine expands the placeholder when
    /// the lists that it is mapped over are known, and doesn't run it before.
    pub placeholder: bool,
}

/// What setup and teardown add to the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Setups {
    /// Setups on the path that aren't direct upstreams, and haven't ended. None for a teardown.
    pub unfinished: u32,
    /// Those that failed or couldn't run.
    pub failed: u32,
    /// Those that were skipped.
    pub skipped: u32,
    /// How many of the direct upstream instances are setups.
    pub direct_total: u32,
    /// How many of these succeeded.
    pub direct_success: u32,
    /// How many of these were skipped.
    pub direct_skipped: u32,
    /// For a teardown: the unfinished instances between its setups and itself, direct upstreams or not.
    pub scope_unfinished: u32,
}

/// What becomes of a task instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// Its rule is satisfied.
    Run,
    /// Its rule can't be satisfied any more, and nothing failed that it cared for.
    Skip,
    /// Its rule can't be satisfied any more because of a failure.
    UpstreamFailed,
}

impl Upstream {
    /// How many ended.
    #[inline]
    pub const fn done(&self) -> u32 {
        self.success + self.failed + self.skipped + self.upstream_failed + self.removed
    }

    #[inline]
    const fn any_failed(&self) -> bool {
        self.failed > 0 || self.upstream_failed > 0
    }
}

/// What becomes of a task instance now. Once it isn't [`Verdict::Wait`] it is final: the engine acts on it and doesn't ask
/// again, though the end of further upstreams may change one final answer into another. When all upstreams have
/// ended and the setups too, it always is final.
#[inline]
pub fn verdict(rule: TriggerRule, upstream: &Upstream, setups: &Setups) -> Verdict {
    debug_assert!(upstream.done() <= upstream.total, "more ended than there are: {upstream:?}");
    let done = upstream.done() >= upstream.total;
    if upstream.total == 0 || (rule == TriggerRule::Always && !upstream.placeholder) {
        return Verdict::Run;
    }
    if setups.failed > 0 {
        return Verdict::UpstreamFailed;
    }
    if setups.skipped > 0 {
        return Verdict::Skip;
    }
    let direct = direct(rule, upstream, setups, done);
    let held = setups.unfinished > 0 || setups.scope_unfinished > 0;
    if direct == Verdict::Run && held { Verdict::Wait } else { direct }
}

#[inline]
#[expect(
    clippy::match_same_arms,
    reason = "each rule keeps its own lines, in the order in which they are decided"
)]
fn direct(rule: TriggerRule, upstream: &Upstream, setups: &Setups, done: bool) -> Verdict {
    let up = upstream;
    let early = !up.placeholder || done;
    let when_done = |verdict| if done { verdict } else { Verdict::Wait };
    match rule {
        TriggerRule::AllSuccess if up.any_failed() => Verdict::UpstreamFailed,
        TriggerRule::AllSuccess | TriggerRule::NoneSkipped if up.skipped > 0 => Verdict::Skip,
        TriggerRule::AllSuccess | TriggerRule::NoneSkipped | TriggerRule::AllDone => when_done(Verdict::Run),

        TriggerRule::AllFailed if up.success > 0 || up.skipped > 0 => Verdict::Skip,
        TriggerRule::AllFailed => when_done(Verdict::Run),

        TriggerRule::AllDoneMinOneSuccess if up.skipped > 0 => Verdict::Skip,
        TriggerRule::AllDoneMinOneSuccess if up.success == 0 => when_done(Verdict::UpstreamFailed),
        TriggerRule::AllDoneMinOneSuccess => when_done(Verdict::Run),

        TriggerRule::AllDoneSetupSuccess if setups.direct_total == 0 || setups.direct_success > 0 => {
            when_done(Verdict::Run)
        }
        TriggerRule::AllDoneSetupSuccess if setups.direct_skipped >= setups.direct_total => {
            when_done(Verdict::Skip)
        }
        TriggerRule::AllDoneSetupSuccess => when_done(Verdict::UpstreamFailed),

        TriggerRule::OneSuccess if up.success > 0 && early => Verdict::Run,
        TriggerRule::OneSuccess if up.skipped == up.total => Verdict::Skip,
        TriggerRule::OneSuccess => when_done(Verdict::UpstreamFailed),

        TriggerRule::OneFailed if up.any_failed() && early => Verdict::Run,
        TriggerRule::OneDone if (up.success > 0 || up.failed > 0) && early => Verdict::Run,
        TriggerRule::OneFailed | TriggerRule::OneDone => when_done(Verdict::Skip),

        TriggerRule::NoneFailed if up.any_failed() => Verdict::UpstreamFailed,
        TriggerRule::NoneFailed => when_done(Verdict::Run),

        TriggerRule::NoneFailedMinOneSuccess if up.any_failed() && early => Verdict::UpstreamFailed,
        TriggerRule::NoneFailedMinOneSuccess if up.any_failed() => Verdict::Wait,
        TriggerRule::NoneFailedMinOneSuccess if up.success > 0 => when_done(Verdict::Run),
        TriggerRule::NoneFailedMinOneSuccess if up.skipped == up.total => Verdict::Skip,
        TriggerRule::NoneFailedMinOneSuccess => when_done(Verdict::UpstreamFailed),

        TriggerRule::AllSkipped if up.success > 0 || up.any_failed() => Verdict::Skip,
        TriggerRule::AllSkipped | TriggerRule::Always => when_done(Verdict::Run),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn count(states: &str) -> Upstream {
        let of = |letter| states.chars().filter(|c| *c == letter).count() as u32;
        Upstream {
            total: states.len() as u32,
            success: of('S'),
            failed: of('F'),
            skipped: of('K'),
            upstream_failed: of('U'),
            removed: of('R'),
            placeholder: false,
        }
    }

    fn decide(rule: &str, states: &str) -> Verdict {
        verdict(TriggerRule::parse(rule).unwrap(), &count(states), &Setups::default())
    }

    fn word(text: &str) -> Verdict {
        match text {
            "-" | "wait" => Verdict::Wait,
            "run" => Verdict::Run,
            "skip" | "set:skipped" => Verdict::Skip,
            "upf" | "set:upstream_failed" => Verdict::UpstreamFailed,
            other => panic!("unknown outcome {other}"),
        }
    }

    /// Airflow waits for ever; a removed upstream is as if it weren't there.
    const DEPARTURES: [(&str, &str); 2] = [("all_skipped", "KR"), ("all_skipped", "RR")];

    #[derive(serde::Deserialize)]
    struct Vector {
        rule: String,
        upstream: Vec<String>,
        outcome: String,
    }

    #[test]
    fn as_airflow_executed() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/trigger-rules.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let vectors: Vec<Vector> = serde_json::from_str(&text).unwrap();
        assert!(vectors.len() >= 139);
        for vector in vectors {
            let letter = |state: &String| match state.as_str() {
                "unfinished" => '.',
                "success" => 'S',
                "failed" => 'F',
                "skipped" => 'K',
                "upstream_failed" => 'U',
                "removed" => 'R',
                other => panic!("unknown state {other}"),
            };
            let states: String = vector.upstream.iter().map(letter).collect();
            let expected = word(&vector.outcome);
            if DEPARTURES.contains(&(&vector.rule, &states)) {
                assert_eq!(expected, Verdict::Wait);
                assert_eq!(decide(&vector.rule, &states), Verdict::Run);
            } else {
                assert_eq!(decide(&vector.rule, &states), expected, "{} {states}", vector.rule);
            }
        }
    }

    #[test]
    fn the_whole_table() {
        let table = "\
            rule                        ..  .S   .F   .K   .U   SS   SF   SK   SU   FF   FK   FU   KK   KU   UU   RR
            all_success                 -   -    upf  skip upf  run  upf  skip upf  upf  upf  upf  skip upf  upf  run
            all_failed                  -   skip -    skip -    skip skip skip skip run  skip run  skip skip run  run
            all_done                    -   -    -    -    -    run  run  run  run  run  run  run  run  run  run  run
            all_done_min_one_success    -   -    -    skip -    run  run  skip run  upf  skip upf  skip skip upf  upf
            all_done_setup_success      -   -    -    -    -    run  run  run  run  run  run  run  run  run  run  run
            one_success                 -   run  -    -    -    run  run  run  run  upf  upf  upf  skip upf  upf  upf
            one_failed                  -   -    run  -    run  skip run  skip run  run  run  run  skip run  run  skip
            one_done                    -   run  run  -    -    run  run  run  run  run  run  run  skip skip skip skip
            none_failed                 -   -    upf  -    upf  run  upf  run  upf  upf  upf  upf  run  upf  upf  run
            none_failed_min_one_success -   -    upf  -    upf  run  upf  run  upf  upf  upf  upf  skip upf  upf  upf
            none_skipped                -   -    -    skip -    run  run  skip run  run  skip run  skip skip run  run
            all_skipped                 -   skip skip -    skip skip skip skip skip skip skip skip run  skip skip -
            always                      run run  run  run  run  run  run  run  run  run  run  run  run  run  run  run";
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let columns = rows.next().unwrap();
        let mut rules = 0;
        for row in rows {
            rules += 1;
            for (states, cell) in columns.iter().zip(&row).skip(1) {
                let departs = DEPARTURES.contains(&(row[0], states));
                let expected = if departs { Verdict::Run } else { word(cell) };
                assert_eq!(decide(row[0], states), expected, "{} {states}", row[0]);
            }
        }
        assert_eq!(rules, TriggerRule::ALL.len());
    }

    #[test]
    fn without_upstreams_everything_runs() {
        for (rule, _) in TriggerRule::ALL {
            assert_eq!(decide(rule, ""), Verdict::Run, "{rule}");
        }
    }

    #[test]
    fn a_placeholder_leaves_early_rules_to_its_indices() {
        for (rule, kind) in TriggerRule::ALL {
            for states in [".S", ".F", ".U"] {
                let upstream = Upstream { placeholder: true, ..count(states) };
                let verdict = verdict(*kind, &upstream, &Setups::default());
                assert_ne!(verdict, Verdict::Run, "{rule} {states}");
                if rule.starts_with("one_") || rule.contains("none_failed_min") || *rule == "always" {
                    assert_eq!(verdict, Verdict::Wait, "{rule} {states}");
                }
            }
            for states in ["SS", "SF", "KK", "SK"] {
                let upstream = Upstream { placeholder: true, ..count(states) };
                assert_eq!(
                    verdict(*kind, &upstream, &Setups::default()),
                    decide(rule, states),
                    "{rule} {states}"
                );
            }
        }
    }

    #[test]
    fn teardowns_want_one_setup_that_succeeded() {
        let decide = |states, direct_total, direct_success, direct_skipped| {
            let setups = Setups { direct_total, direct_success, direct_skipped, ..Setups::default() };
            verdict(TriggerRule::AllDoneSetupSuccess, &count(states), &setups)
        };
        assert_eq!(decide("SF", 1, 1, 0), Verdict::Run);
        assert_eq!(decide("SSF", 2, 1, 1), Verdict::Run);
        assert_eq!(decide("KK", 1, 0, 1), Verdict::Skip);
        assert_eq!(decide("FU", 1, 0, 0), Verdict::UpstreamFailed);
        assert_eq!(decide("FK", 2, 0, 1), Verdict::UpstreamFailed);
        assert_eq!(decide(".F", 1, 0, 0), Verdict::Wait);
        let setups = Setups { direct_total: 1, direct_success: 1, scope_unfinished: 1, ..Setups::default() };
        assert_eq!(verdict(TriggerRule::AllDoneSetupSuccess, &count("SS"), &setups), Verdict::Wait);
    }

    #[test]
    fn a_setup_on_the_path_comes_first() {
        let decide = |rule, states, setups| verdict(rule, &count(states), &setups);
        let failed = Setups { failed: 1, skipped: 1, unfinished: 1, ..Setups::default() };
        let skipped = Setups { skipped: 1, unfinished: 1, ..Setups::default() };
        let unfinished = Setups { unfinished: 1, ..Setups::default() };
        assert_eq!(decide(TriggerRule::AllDone, "S.", failed), Verdict::UpstreamFailed);
        assert_eq!(decide(TriggerRule::AllDone, "SS", skipped), Verdict::Skip);
        assert_eq!(decide(TriggerRule::AllDone, "SS", unfinished), Verdict::Wait);
        assert_eq!(decide(TriggerRule::AllSuccess, "F.", unfinished), Verdict::UpstreamFailed);
        assert_eq!(decide(TriggerRule::Always, "F.", failed), Verdict::Run);
    }

    fn rules() -> impl Strategy<Value = TriggerRule> {
        proptest::sample::select(TriggerRule::ALL).prop_map(|(_, rule)| rule)
    }

    proptest! {
        /// Whatever the order in which upstreams end: a decision isn't taken back, and the last end brings one.
        #[test]
        fn decisions_come_and_stay(rule in rules(), ends in "[SFKUR]{1,8}", placeholder: bool, direct_setup: bool) {
            let mut decided = false;
            for ended in 0..=ends.len() {
                let states = format!("{}{}", &ends[..ended], ".".repeat(ends.len() - ended));
                let upstream = Upstream { placeholder, ..count(&states) };
                let setup = |letter| u32::from(direct_setup && states.starts_with(letter));
                let setups = Setups {
                    direct_total: u32::from(direct_setup),
                    direct_success: setup('S'),
                    direct_skipped: setup('K'),
                    ..Setups::default()
                };
                let verdict = verdict(rule, &upstream, &setups);
                prop_assert!(!(decided && verdict == Verdict::Wait), "{} {} went back to waiting", rule, states);
                decided = verdict != Verdict::Wait;
            }
            prop_assert!(decided, "{} {} waits for ever", rule, ends);
        }

        /// Only the counts matter to the caller, and a removed upstream never keeps a task from its decision.
        #[test]
        fn a_removed_upstream_is_absent_to_the_rules_about_all(states in "[.SFKU]{1,6}", removed in 1_usize..3) {
            for rule in ["all_success", "all_failed", "all_done", "none_failed", "none_skipped", "all_skipped"] {
                let with = format!("{states}{}", "R".repeat(removed));
                prop_assert_eq!(decide(rule, &with), decide(rule, &states), "{} {}", rule, with);
            }
        }
    }
}
