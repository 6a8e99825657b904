//! Drawings of graphs.

#![cfg(test)]

use std::{collections::BTreeMap, fmt::Write as _};

use dags::{compile::compile, diagnostic::Source, graph, model::Dag};

#[path = "fixture/catalog.rs"]
mod fixture;

fn dag(text: &str) -> Dag {
    let files = BTreeMap::from([("load.sql".to_owned(), "00".repeat(32))]);
    let compiled = compile(&Source::new("x.yaml", text), &fixture::catalog(), &files);
    assert_eq!(compiled.diagnostics, []);
    compiled.dags.into_iter().next().unwrap()
}

#[test]
fn the_example_is_drawn() {
    let dag = dag(include_str!("../language/daily_sales.yaml"));
    insta::assert_snapshot!("example_text", graph::text(&dag));
    insta::assert_snapshot!("example_dot", graph::dot(&dag));
    insta::assert_snapshot!("example_mermaid", graph::mermaid(&dag));
    insta::assert_json_snapshot!("example_json", graph::json(&dag));
}

#[test]
fn forks_and_joins_are_drawn() {
    let dag = dag("
dag: joins
tasks:
  start: { empty: }
  a1: { bash: x, needs: start }
  a2: { bash: x, needs: a1 }
  b1: { bash: x, needs: start }
  b2: { bash: x, needs: [b1, a1] }
  c1: { bash: x, needs: start }
  join: { empty: , needs: [a2, b2, c1], trigger_rule: none_failed }
  alone: { bash: x }
  last: { bash: x, needs: [join, start] }
groups:
  outer: { }
  a: { tasks: [a1, a2], parent: outer }
  b: { tasks: [b1, b2], parent: outer }
");
    insta::assert_snapshot!("joins_text", graph::text(&dag));
    insta::assert_snapshot!("joins_dot", graph::dot(&dag));
    insta::assert_snapshot!("joins_mermaid", graph::mermaid(&dag));
}

#[test]
fn forty_tasks_can_be_read() {
    let mut text = "dag: forty\ntasks:\n  fetch: { empty: }\n  done: { empty: , needs: [".to_owned();
    for region in 0..9 {
        write!(text, "{}publish_{region}", if region > 0 { ", " } else { "" }).unwrap();
    }
    text.push_str("] }\n");
    for region in 0..9 {
        for (step, before) in [("load", "fetch"), ("clean", "load"), ("check", "clean"), ("publish", "check")]
        {
            let before = if before == "fetch" { "fetch".to_owned() } else { format!("{before}_{region}") };
            writeln!(text, "  {step}_{region}: {{ bash: x, needs: {before} }}").unwrap();
        }
    }
    insta::assert_snapshot!("forty_text", graph::text(&dag(&text)));
}

#[test]
fn wide_graphs_become_lists() {
    let mut text = "dag: wide\ntasks:\n  start: { empty: }\n".to_owned();
    for n in 0..30 {
        writeln!(text, "  t{n:02}: {{ bash: x, needs: start }}").unwrap();
    }
    let drawn = graph::text(&dag(&text));
    assert!(drawn.contains("t29    bash   <- start"), "{drawn}");
    assert_eq!(drawn.lines().count(), 31);
}

#[test]
fn the_order_respects_the_needs() {
    let dag = dag(include_str!("../language/daily_sales.yaml"));
    let graph = graph::Graph::of(&dag);
    let order = graph.order(&dag);
    assert_eq!(order.len(), dag.tasks.len());
    for (place, task) in order.iter().enumerate() {
        assert!(graph.up[*task].iter().all(|before| order[..place].contains(before)));
    }
}
