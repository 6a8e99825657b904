//! Random scenarios: the pool decides as the plain rules do, and the properties hold of both.
//!
//! `UPDRAFT_SHARING_CASES=100000` runs that many of each kind (400 by default), `PROPTEST_RNG_SEED` others than the gate.

use std::collections::BTreeMap;

use engine::sharing::Blocker;
use proptest::{
    prelude::{ProptestConfig, any},
    proptest,
};
use serde_json::{Value, json};

use crate::{
    fast::Fast,
    plain::Plain,
    scenario::{Run, Scenario},
};

/// A generator of numbers; the same seed gives the same scenario for ever.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}

const RESOURCES: [&str; 2] = ["cpu", "gpu"];

fn quota(rng: &mut Rng, flavors: &[String], most: u64) -> Value {
    let mut quota = json!({});
    for flavor in flavors {
        for resource in RESOURCES {
            if rng.one_in(3) {
                continue;
            }
            let mut entry = json!({"nominal": rng.below(most)});
            if rng.one_in(4) {
                entry["borrow"] = json!(rng.below(5));
            }
            if rng.one_in(4) {
                entry["lend"] = json!(rng.below(5));
            }
            quota[flavor][resource] = entry;
        }
    }
    quota
}

fn hosts(rng: &mut Rng) -> Value {
    let mut hosts = json!({});
    for host in 0..=rng.below(3) {
        hosts[format!("h{host}")] = json!({"cpu": 1 + rng.below(8), "gpu": 1 + rng.below(8)});
    }
    hosts
}

fn workload(rng: &mut Rng, id: usize, tenant: &str, flavors: &[String]) -> Value {
    let mut list: Vec<String> = flavors.to_vec();
    if rng.one_in(2) {
        list.reverse();
    }
    list.truncate(1 + rng.below(list.len() as u64) as usize);
    let request = |rng: &mut Rng, most: u64| match rng.below(3) {
        0 => json!({"cpu": 1 + rng.below(most)}),
        1 => json!({"gpu": 1 + rng.below(most)}),
        _ => json!({"cpu": 1 + rng.below(most), "gpu": 1 + rng.below(most)}),
    };
    let mut it = json!({"id": format!("w{id}"), "tenant": tenant, "priority": rng.of(&[0, 0, 1, 5]),
        "duration": 1 + rng.below(9)});
    if rng.one_in(3) {
        let groups = 1 + rng.below(2);
        let members: Vec<Value> = (0..groups)
            .map(|group| {
                let count = 1 + rng.below(3);
                json!({"name": format!("m{group}"), "count": count, "max": count + rng.of(&[0, 0, 2, 4]),
                    "request": request(rng, 2), "flavors": list})
            })
            .collect();
        it["members"] = json!(members);
        it["span_clusters"] = json!(rng.one_in(3));
    } else {
        it["request"] = request(rng, 4);
        it["flavors"] = json!(list);
    }
    it["preemptible"] = json!(!rng.one_in(6));
    it["may_preempt"] = json!(!rng.one_in(6));
    if rng.one_in(3) {
        it["user"] = json!("ann");
    }
    if rng.one_in(4) {
        it["pool"] = json!(rng.of(&["db", "db", "none"]));
        it["slots"] = json!(1 + rng.below(2));
    }
    it
}

fn scenario(seed: u64) -> Value {
    let rng = &mut Rng(seed);
    let clusters = 1 + rng.below(2);
    let flavors: Vec<Value> = (0..=rng.below(3))
        .map(|f| {
            let cluster = rng.below(clusters);
            json!({"id": format!("c{cluster}/f{f}"), "cluster": format!("c{cluster}"), "hosts": hosts(rng)})
        })
        .collect();
    let names: Vec<String> = flavors.iter().map(|flavor| flavor["id"].as_str().unwrap().to_owned()).collect();
    let mut cohorts = vec![json!({"id": "root", "quota": quota(rng, &names, 7)})];
    for cohort in 0..rng.below(3) {
        let parent = rng.of(&cohorts)["id"].clone();
        cohorts.push(json!({"id": format!("d{cohort}"), "parent": parent, "weight": rng.below(3),
            "quota": quota(rng, &names, 5)}));
    }
    let tenants: Vec<Value> = ["a", "b", "c", "d"][..=rng.below(4) as usize]
        .iter()
        .map(|id| {
            let mut tenant = json!({"id": id, "parent": rng.of(&cohorts)["id"], "weight": rng.of(&["0", "1", "1", "2.5"]),
                "quota": quota(rng, &names, 6)});
            if rng.one_in(8) {
                tenant["max_queued"] = json!(2);
            }
            tenant
        })
        .collect();
    let ids: Vec<String> = tenants.iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned()).collect();
    let mut caps = Vec::new();
    for tenant in &ids {
        caps.push(json!({"kind": "pool", "tenant": tenant, "key": "db", "max": 2 + rng.below(3)}));
        if rng.one_in(2) {
            caps.push(json!({"kind": "user", "tenant": tenant, "key": "ann", "resources": {"cpu": 1 + rng.below(6)}}));
        }
        if rng.one_in(3) {
            caps.push(json!({"kind": "tenant", "tenant": tenant, "max": 1 + rng.below(6)}));
        }
    }
    let mut events = Vec::new();
    let works = 3 + rng.below(12) as usize;
    let mut t = 0;
    for id in 0..works {
        t += rng.of(&[0, 0, 1, 1, 3]);
        let tenant = rng.of(&ids);
        let it = workload(rng, id, &tenant, &names);
        events.push(json!({"t": t, "submit": it.clone()}));
        // Some of the same shape.
        for again in 0..rng.of(&[0, 0, 0, 2]) {
            let mut more = it.clone();
            more["id"] = json!(format!("w{id}_{again}"));
            events.push(json!({"t": t, "submit": more}));
        }
        match rng.below(24) {
            0 => events.push(json!({"t": t + 2, "cancel": format!("w{id}")})),
            1 => events.push(json!({"t": t, "suspend": tenant})),
            2 => events.push(json!({"t": t + 1, "resume": tenant})),
            3 => {
                events.push(json!({"t": t, "quota": {"node": rng.of(&ids), "quota": quota(rng, &names, 6)}}));
            }
            4 => events.push(json!({"t": t, "capacity": {"flavor": rng.of(&names), "hosts": hosts(rng)}})),
            _ => {}
        }
    }
    let hold_after: Option<u64> = rng.of(&[None, Some(0), Some(2), Some(5)]);
    json!({"name": format!("seed {seed}"), "hold_after": hold_after, "end_delay": rng.below(3), "flavors": flavors,
        "cohorts": cohorts, "tenants": tenants, "caps": caps, "events": events})
}

fn check(seed: u64, text: Value, guaranteed: bool) {
    let one: Scenario = serde_json::from_value(text.clone()).unwrap();
    let events = text["events"].as_array().unwrap();
    let unchanged =
        events.iter().all(|event| event.get("quota").is_none() && event.get("capacity").is_none());
    let names: Vec<&str> =
        text["tenants"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    let (mut plain, mut fast) = (Run::<Plain>::new(&one), Run::<Fast>::new(&one));
    // In half of the scenarios the pool is lost now and then: what is kept must be enough to go on in the same way.
    let mut luck = Rng(seed ^ 0x5eed);
    let unlucky = luck.one_in(2);
    fast.crashes = Box::new(move || unlucky && luck.one_in(3));
    let mut preemptors: BTreeMap<String, u32> = BTreeMap::new();
    let mut seen = 0;
    while plain.step(None) {
        assert!(fast.step(None), "seed {seed}: the pool stopped before {}", plain.now);
        let (want, got) = (&plain.trace[seen..], &fast.trace[seen.min(fast.trace.len())..]);
        assert_eq!(got, want, "seed {seed}, at {}, {text}", plain.now);
        assert_eq!(fast.usage(), plain.usage(), "seed {seed}, at {}", plain.now);
        assert_eq!(fast.blockers(), plain.blockers(), "seed {seed}, at {}, {text}", plain.now);
        if plain.outside {
            preemptors.clear();
        }
        for entry in &plain.trace[seen..] {
            if entry["do"] == "reserve" {
                let times = preemptors.entry(entry["id"].to_string()).or_default();
                *times += 1;
                assert_eq!(*times, 1, "seed {seed}: {entry} preempts twice in an episode");
            }
        }
        let admitted: Vec<u64> = plain.trace[seen..]
            .iter()
            .filter(|entry| entry["do"] == "admit")
            .map(|entry| plain.works.iter().position(|(name, ..)| entry["id"] == **name).unwrap() as u64)
            .collect();
        seen = plain.trace.len();
        plain.pool.assert_properties(unchanged);
        plain.pool.assert_order(&admitted);
        if guaranteed {
            plain.pool.assert_guarantees();
        }
        let mut usage = plain.usage();
        usage.retain(|node, _| names.contains(&&**node));
        assert_eq!(
            usage,
            plain.admitted(),
            "seed {seed}: only admissions and confirmed ends move what is held"
        );
        plain.blockers().iter().for_each(|(_, blocker)| assert_blocks(blocker));
    }
    assert!(!fast.step(None), "seed {seed}: the pool goes on after {}", plain.now);
    for (id, blocker) in plain.blockers() {
        let for_ever = matches!(
            blocker,
            Blocker::Suspended { .. }
                | Blocker::NoFlavor
                | Blocker::ExceedsQuota(_)
                | Blocker::ExceedsCapacity { .. }
                | Blocker::PoolMissing { .. }
                | Blocker::Cap { never: true, .. }
        );
        assert!(for_ever, "seed {seed}: {id} never gets its turn, because of {blocker:?}, {text}");
    }
    one_end_each(seed, &plain.trace);
    // The order of lists doesn't matter.
    let mut turned = text.clone();
    for key in ["flavors", "cohorts", "tenants", "caps"] {
        turned[key].as_array_mut().unwrap().reverse();
    }
    let turned: Scenario = serde_json::from_value(turned).unwrap();
    let mut again = Run::<Fast>::new(&turned);
    while again.step(None) {}
    assert_eq!(again.trace, plain.trace, "seed {seed}: the order of lists matters");
}

/// A scenario whose hardware covers all nominal quotas, without hosts that could be fragmented, and nothing changes.
fn covered(seed: u64) -> Value {
    let mut text = scenario(seed);
    let nodes = |text: &Value| -> Vec<Value> {
        ["cohorts", "tenants"].iter().flat_map(|key| text[key].as_array().unwrap().clone()).collect()
    };
    let nodes = nodes(&text);
    for flavor in text["flavors"].as_array_mut().unwrap() {
        let id = flavor["id"].as_str().unwrap().to_owned();
        let sum = |resource: &str| -> i64 {
            nodes.iter().filter_map(|node| node["quota"][&id][resource]["nominal"].as_i64()).sum()
        };
        flavor["capacity"] = json!({"cpu": sum("cpu"), "gpu": sum("gpu")});
        flavor.as_object_mut().unwrap().remove("hosts");
    }
    let events = text["events"].as_array_mut().unwrap();
    events.retain(|event| event.get("quota").is_none() && event.get("capacity").is_none());
    text
}

/// The numbers of a blocker do block.
fn assert_blocks(blocker: &Blocker<u64>) {
    match blocker {
        Blocker::ExceedsQuota(short) | Blocker::Quota(short) => {
            assert!(short.used + short.wanted > short.limit, "{blocker:?}");
        }
        Blocker::Cap { used, wanted, limit, .. } => assert!(used + wanted > *limit, "{blocker:?}"),
        Blocker::Capacity { wanted, free, .. } => assert!(wanted > free, "{blocker:?}"),
        Blocker::Suspended { .. }
        | Blocker::NoFlavor
        | Blocker::ExceedsCapacity { .. }
        | Blocker::PoolMissing { .. }
        | Blocker::Victims { .. }
        | Blocker::Fragmented { .. }
        | Blocker::Reserved { .. } => {}
    }
}

/// Each admission is followed by one end, and there is no end without admission.
fn one_end_each(seed: u64, trace: &[Value]) {
    let mut running: BTreeMap<String, bool> = BTreeMap::new();
    for entry in trace {
        let id = entry["id"].to_string();
        let is = running.entry(id).or_default();
        match entry["do"].as_str().unwrap() {
            "admit" => assert!(!std::mem::replace(is, true), "seed {seed}: {entry} while it runs"),
            "ended" if entry.get("part").is_none() => {
                assert!(std::mem::replace(is, false), "seed {seed}: {entry} and doesn't run");
            }
            "finish" => *is = false,
            _ => {}
        }
    }
    assert!(running.values().all(|is| !is), "seed {seed}: all that was admitted has ended");
}

#[expect(clippy::disallowed_methods, reason = "how much is tried is set for the tests only")]
fn config() -> ProptestConfig {
    let cases = std::env::var("UPDRAFT_SHARING_CASES").ok();
    let cases = cases.map_or(400, |cases| cases.parse().expect("UPDRAFT_SHARING_CASES is a number"));
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_pool_decides_as_the_plain_rules_do(seed in any::<u64>()) {
        check(seed, scenario(seed), false);
    }

    #[test]
    fn guarantees_are_reached_in_one_pass(seed in any::<u64>()) {
        check(seed, covered(seed), true);
    }
}

/// Scenarios that showed a fault once.
#[test]
fn old_faults() {
    // An extra whose core is taken counted as a victim of its own.
    check(691_270_599_901_396_551, scenario(691_270_599_901_396_551), false);
    // The end of a tenant's last workload didn't move what its cohort was compared by.
    check(11_214_684_272_058_168_642, covered(11_214_684_272_058_168_642), true);
    check(16_469_304_719_289_201_158, covered(16_469_304_719_289_201_158), true);
    // Of a fresh admission a member in the middle was taken back.
    check(13_881_332_172_843_139_676, covered(13_881_332_172_843_139_676), true);
    // A workload was let in by its hold in the tournament.
    check(16_609_216_477_437_310_534, scenario(16_609_216_477_437_310_534), false);
}

/// Small tasks, all borrowed, and late comers: borrowed shares end in proportion to the weights.
#[test]
fn weighted_shares_end_within_one_task_of_each_other() {
    let mut events = Vec::new();
    for (tenant, t) in [("a", 0), ("b", 7), ("c", 13)] {
        for n in 0..400 {
            events.push(json!({"t": t, "submit": {"id": format!("{tenant}{n}"), "tenant": tenant,
                "request": {"cpu": 1}, "duration": 5}}));
        }
    }
    let text = json!({"name": "shares", "hold_after": null, "end_delay": 1,
        "flavors": [{"id": "k/f", "cluster": "k", "capacity": {"cpu": 24}}],
        "cohorts": [{"id": "root", "quota": {"k/f": {"cpu": {"nominal": 24}}}}],
        "tenants": [{"id": "a", "parent": "root", "weight": 1}, {"id": "b", "parent": "root", "weight": 2},
            {"id": "c", "parent": "root", "weight": 3}],
        "events": events});
    let scenario: Scenario = serde_json::from_value(text).unwrap();
    let mut run = Run::<Fast>::new(&scenario);
    while run.step(Some(40)) {}
    let usage = run.usage();
    let of = |tenant: &str| usage[tenant]["k/f cpu"];
    assert!((of("a") - 4).abs() <= 1 && (of("b") - 8).abs() <= 1 && (of("c") - 12).abs() <= 1, "{usage:?}");
}

/// An endless stream of small tasks, all on borrowed quota: the large ones that starve get in one after the other, each within
/// the time that those before it and what runs need.
#[test]
fn nobody_starves_under_a_stream_of_small_tasks() {
    let (hold_after, longest) = (10, 4);
    for seed in 0..20 {
        let rng = &mut Rng(seed);
        let mut events = Vec::new();
        for t in 0..400 {
            for n in 0..4 {
                let duration = 1 + rng.below(longest as u64);
                events.push(json!({"t": t, "submit": {"id": format!("s{t}_{n}"), "tenant": "small",
                    "request": {"cpu": 1 + rng.below(2)}, "duration": duration}}));
            }
        }
        let mut large = Vec::new();
        for n in 0..5 {
            let t = 3 + rng.below(12) as i64;
            events.push(
                json!({"t": t, "submit": {"id": format!("l{n}"), "tenant": rng.of(&["large", "small"]),
                "members": [{"count": 1 + rng.below(2), "request": {"cpu": 4}}], "duration": longest}}),
            );
            large.push((t + hold_after, n));
        }
        large.sort_by_key(|(since, n)| (*since, *n));
        events.sort_by_key(|event| event["t"].as_i64());
        let text = json!({"name": "stream", "hold_after": hold_after, "end_delay": 0,
            "flavors": [{"id": "k/f", "cluster": "k", "hosts": {"a": {"cpu": 6}, "b": {"cpu": 5}}}],
            "cohorts": [{"id": "root", "quota": {"k/f": {"cpu": {"nominal": 11}}}}],
            "tenants": [{"id": "small", "parent": "root"}, {"id": "large", "parent": "root", "weight": 0}],
            "events": events});
        let scenario: Scenario = serde_json::from_value(text).unwrap();
        let mut run = Run::<Fast>::new(&scenario);
        while run.step(Some(399)) {}
        for (since, n) in &large {
            let is = |entry: &&Value| entry["do"] == "admit" && entry["id"] == format!("l{n}");
            let at = run.trace.iter().find(is).map(|entry| entry["t"].as_i64().unwrap());
            // Small ones starve too; all that began to wait no later may be before it.
            let older = |entry: &&Value| entry["do"] == "hold" && entry["id"] != format!("l{n}");
            let before = |entry: &&Value| entry["t"].as_i64().unwrap() <= at.unwrap_or(i64::MAX);
            let ahead = run.trace.iter().filter(older).filter(before).count() as i64;
            let bound = since + (ahead + 1) * longest;
            assert!(
                at.is_some_and(|at| at <= bound),
                "seed {seed}: l{n} starves since {since}, came at {at:?}"
            );
        }
    }
}
