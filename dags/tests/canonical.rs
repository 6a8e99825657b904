//! Same meaning, same version: blanks, comments, the order of keys and short forms don't count.

#![cfg(test)]

use std::collections::BTreeMap;

use dags::{
    canonical,
    compile::{compile, compile_tree},
    diagnostic::Source,
    tree::{ByteRange, Entry, Key, Kind, Node},
    yaml,
};
use proptest::prelude::*;

#[path = "fixture/catalog.rs"]
mod fixture;

fn version(text: &str) -> String {
    let files = BTreeMap::from([("load.sql".to_owned(), "00".repeat(32))]);
    let compiled = compile(&Source::new("x.yaml", text), &fixture::catalog(), &files);
    assert!(!compiled.has_errors(), "{:#?}\n{text}", compiled.diagnostics);
    canonical::version(&compiled.dags[0]).to_string()
}

#[test]
fn short_and_long_forms_are_the_same() {
    let same: &[(&str, &str)] = &[
        ("schedule: '@daily'", "schedule: { cron: '0  0 * * *', timezone: UTC, missed: latest }"),
        ("", "schedule:"),
        ("tags: x", "tags: [x, x]"),
        ("on_failure: a", "on_failure: [{ notify: a }]"),
        ("run_timeout: 90m", "run_timeout: 1h30m"),
        ("start_date: 2026-01-01", "start_date: 2026-01-01T01:00:00+01:00"),
        ("defaults: { retries: 2 }", "defaults: { retries: 2, pool: default_pool }"),
        ("# a comment\nmax_active_runs: 16", ""),
    ];
    for (one, other) in same {
        let with = |line: &str| version(&format!("dag: a\n{line}\ntasks: {{ b: {{ bash: x }} }}"));
        assert_eq!(with(one), with(other), "{one} / {other}");
    }
    let tasks: &[(&str, &str)] = &[
        ("b: { bash: x }", "b:\n    bash:\n      command: x"),
        ("b: { bash: x, retries: 0 }", "b: { bash: x }"),
        ("b: { empty: }", "b: { empty: {} }"),
        ("a: { empty: }\n  b: { bash: x, needs: a }", "b: { needs: [a], bash: x }\n  a: { empty: {} }"),
        ("b: { bash: x, retry_delay: 300s }", "b: { bash: x, retry_delay: PT5M }"),
        (
            "b: { bash: x, resources: { cpu: 1, memory: 1Gi } }",
            "b: { bash: x, resources: { cpu: 1000m, memory: 1024Mi } }",
        ),
        ("b: { http: { path: /x, timeout: 90s } }", "b: { http: { path: /x, timeout: 1m30s, method: GET } }"),
        ("b: { bash: x, when: ds == 'x' }", "b: { bash: x, when: \"{{ds == 'x'}}\" }"),
        ("b: { bash: x, env: { A: 1 } }", "b: { bash: x, env: { A: '1' } }"),
        ("b: { sql: { connection: c, file: load.sql } }", "b: { sql: { file: ./load.sql, connection: c } }"),
    ];
    for (one, other) in tasks {
        let with = |tasks: &str| version(&format!("dag: a\ntasks:\n  {tasks}"));
        assert_eq!(with(one), with(other), "{one} / {other}");
    }
}

#[test]
fn what_differs_in_meaning_differs_in_version() {
    let base = version("dag: a\ntasks: { b: { bash: x } }");
    for other in [
        "dag: c\ntasks: { b: { bash: x } }",
        "dag: a\ntasks: { b: { bash: y } }",
        "dag: a\ntasks: { b: { bash: x, retries: 1 } }",
        "dag: a\ntasks: { b: { bash: x }, c: { empty: } }",
        "dag: a\nschedule: '@daily'\ntasks: { b: { bash: x } }",
    ] {
        assert_ne!(base, version(other), "{other}");
    }
}

#[test]
fn a_changed_file_is_a_new_version() {
    let text = "dag: a\ntasks: { b: { sql: { connection: c, file: load.sql } } }";
    let version = |digest: &str| {
        let files = BTreeMap::from([("load.sql".to_owned(), digest.to_owned())]);
        let compiled = compile(&Source::new("x.yaml", text), &fixture::catalog(), &files);
        canonical::version(&compiled.dags[0])
    };
    assert_ne!(version("aa"), version("bb"));
}

#[test]
fn the_canonical_form_reads_back() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/language/daily_sales.yaml")).unwrap();
    let files = BTreeMap::from([("load.sql".to_owned(), "00".repeat(32))]);
    let compiled = compile(&Source::new("x.yaml", text), &fixture::catalog(), &files);
    let bytes = canonical::bytes(&compiled.dags[0]);
    let dag: dags::model::Dag = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(dag, compiled.dags[0]);
    assert_eq!(canonical::bytes(&dag), bytes);
}

/// The same tree with every map's pairs in another order, but for `map`, whose order means something.
fn shuffle(node: &Node, order: &mut impl FnMut(usize) -> usize) -> Node {
    let kind = match &node.kind {
        Kind::Seq(nodes) => Kind::Seq(nodes.iter().map(|node| shuffle(node, order)).collect()),
        Kind::Map(entries) => {
            let mut entries: Vec<Entry> = entries
                .iter()
                .map(|entry| {
                    let value = if entry.key.text == "map" {
                        entry.value.clone()
                    } else {
                        shuffle(&entry.value, order)
                    };
                    Entry { key: Key { span: ByteRange::new(0, 0), text: entry.key.text.clone() }, value }
                })
                .collect();
            for n in (1..entries.len()).rev() {
                entries.swap(n, order(n + 1));
            }
            Kind::Map(entries)
        }
        other => other.clone(),
    };
    Node { span: ByteRange::new(0, 0), kind }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_order_of_keys_means_nothing(seed in any::<u64>()) {
        let text = include_str!("../language/daily_sales.yaml");
        let source = Source::new("x.yaml", text);
        let files = BTreeMap::from([("load.sql".to_owned(), "00".repeat(32))]);
        let (documents, _) = yaml::parse(&source);
        let mut state = seed;
        let mut order = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let tree = shuffle(&documents[0].tree, &mut order);
        let compiled = compile_tree(&source, &[tree], &fixture::catalog(), &files);
        prop_assert_eq!(&compiled.diagnostics, &[]);
        prop_assert_eq!(canonical::version(&compiled.dags[0]).to_string(), version(text));
    }
}
