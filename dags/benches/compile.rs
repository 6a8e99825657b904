//! How long compiling takes: one file of 50 tasks (aim: under 1 ms) and the 5,000 files of a cold start (under 5 s).

use std::fmt::Write as _;

use dags::{
    catalog::Catalog,
    compile::{NoFiles, compile},
    diagnostic::Source,
};

#[path = "../tests/fixture/catalog.rs"]
mod fixture;

fn main() {
    divan::main();
}

/// A file as teams write them: a schedule, params, defaults, and tasks in a few chains with templates.
fn file(name: &str, tasks: usize) -> Source {
    let mut text = format!(
        "dag: {name}
doc: Loads and checks one region's orders.
owner: sales-data
tags: [sales, daily]
schedule: {{ cron: \"30 2 * * *\", timezone: Europe/Berlin, timetable: interval }}
start_date: 2026-01-01
params:
  region: {{ type: string, enum: [eu, us], default: eu }}
defaults: {{ retries: 2, retry_delay: 30s, timeout: 20m }}
tasks:
"
    );
    for n in 0..tasks {
        let needs =
            if n < 5 { String::new() } else { format!("\n    needs: [task_{}, task_{}]", n - 5, n - 1) };
        let operator = match n % 4 {
            0 => format!("bash: ./step.sh --day {{{{ ds }}}} --region {{{{ params.region }}}} --part {n}"),
            1 => "python: |\n      rows = load(\"{{ ds }}\")\n      len(rows)".to_owned(),
            2 => "http: { connection: shop, path: \"/orders?day={{ ds }}\", method: POST }".to_owned(),
            _ => "sql_check: { connection: warehouse, query: \"select 1 where d = '{{ ds }}'\", expect: \"> 0\" }"
                .to_owned(),
        };
        let _ = write!(text, "  task_{n}:{needs}\n    pool: warehouse\n    priority: {n}\n    {operator}\n");
    }
    Source::new(format!("{name}.yaml"), text)
}

fn check(source: &Source, catalog: &Catalog) -> usize {
    let compiled = compile(source, catalog, &NoFiles);
    assert_eq!(compiled.diagnostics, [], "the bench compiles a valid file");
    let versions = compiled.dags.iter().map(dags::canonical::version);
    versions.map(|version| version.to_string().len()).sum()
}

#[divan::bench]
fn fifty_tasks(bencher: divan::Bencher<'_, '_>) {
    let (source, catalog) = (file("fifty", 50), fixture::catalog());
    bencher.bench(|| check(divan::black_box(&source), &catalog));
}

#[divan::bench]
fn fifty_tasks_parse_only(bencher: divan::Bencher<'_, '_>) {
    let source = file("fifty", 50);
    bencher.bench(|| dags::yaml::parse(divan::black_box(&source)));
}

/// A chain as long as is allowed.
fn chain() -> Source {
    let mut text = "dag: many\ntasks:\n".to_owned();
    for n in 0..10_000 {
        let needs = if n > 0 { format!("t{}", n - 1) } else { String::new() };
        let _ = writeln!(text, "  t{n}: {{ bash: 'x {{{{ ds }}}}', needs: [{needs}] }}");
    }
    Source::new("many.yaml", text)
}

#[divan::bench(sample_count = 10)]
fn ten_thousand_tasks(bencher: divan::Bencher<'_, '_>) {
    let (source, catalog) = (chain(), fixture::catalog());
    bencher.bench(|| check(divan::black_box(&source), &catalog));
}

#[divan::bench(sample_count = 10)]
fn ten_thousand_tasks_parse_only(bencher: divan::Bencher<'_, '_>) {
    let source = chain();
    bencher.bench(|| dags::yaml::parse(divan::black_box(&source)));
}

#[divan::bench(sample_count = 10)]
fn ten_thousand_tasks_version_only(bencher: divan::Bencher<'_, '_>) {
    let compiled = compile(&chain(), &fixture::catalog(), &NoFiles);
    bencher.bench(|| dags::canonical::version(divan::black_box(&compiled.dags[0])));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn five_thousand_files(bencher: divan::Bencher<'_, '_>) {
    let sources: Vec<Source> = (0..5_000).map(|n| file(&format!("dag_{n}"), 20)).collect();
    bencher.bench(|| {
        let catalog = fixture::catalog();
        sources.iter().map(|source| check(source, &catalog)).sum::<usize>()
    });
}
