//! Hostile files: none panics, hangs or eats memory; each gets a diagnostic.

#![cfg(test)]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use dags::{
    compile::{Compiled, NoFiles, compile, compile_tree},
    diagnostic::{Severity, Source},
    graph,
    tree::{ByteRange, Entry, Key, Kind, Node},
    yaml::FILE_BYTES_MAX,
};

#[path = "fixture/catalog.rs"]
mod fixture;

/// Generous for a debug build on a busy machine, far from what anything quadratic in a megabyte would take.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "a test of how long it takes")]
fn survive(name: &str, text: String) -> Compiled {
    let source = Source::new("hostile.yaml", text);
    // The service may compile on a thread with a small stack.
    let compiled = std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(move || {
            let start = Instant::now();
            let compiled = compile(&source, &fixture::catalog(), &NoFiles);
            (compiled, start.elapsed())
        })
        .unwrap()
        .join();
    let (compiled, elapsed) = compiled.unwrap();
    println!("{name}: {elapsed:?}");
    assert!(elapsed < PATIENCE, "{name} took {elapsed:?}");
    compiled
}

fn refused(name: &str, text: String) -> Vec<&'static str> {
    let compiled = survive(name, text);
    let errors = compiled.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let codes: Vec<_> = errors.map(|diagnostic| diagnostic.code).collect();
    assert!(!codes.is_empty(), "{name} was accepted");
    codes
}

#[test]
fn bombs_of_aliases_are_stopped() {
    let mut laughs = "dag: a\nx0: &x0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for n in 1..20 {
        let aliases = vec![format!("*x{}", n - 1); 10].join(", ");
        writeln!(laughs, "x{n}: &x{n} [{aliases}]").unwrap();
    }
    assert!(refused("laughs", laughs).contains(&"yaml.alias"));
    let mut long = format!("dag: a\nx: &x {}\ny:\n", "x".repeat(500_000));
    long.push_str(&"  - *x\n".repeat(60_000));
    assert!(refused("long", long).contains(&"yaml.alias"));
    let mut deep = "dag: a\nx0: &x0 [a]\n".to_owned();
    for n in 1..10_000 {
        writeln!(deep, "x{n}: &x{n} [*x{}]", n - 1).unwrap();
    }
    let codes = refused("deep", deep);
    assert!(codes.contains(&"yaml.limit") || codes.contains(&"yaml.alias"), "{codes:?}");
    let nested = "&a [".repeat(29) + &"x, ".repeat(100_000) + &"]".repeat(29);
    assert!(refused("nested anchors", nested).contains(&"yaml.alias"));
    assert!(refused("itself", "dag: &a\n  x: *a\n".to_owned()).contains(&"yaml.alias"));
    let mut merges = "a: &a { k: v }\n".to_owned();
    for _ in 0..20_000 {
        merges.push_str("<<: *a\n");
    }
    refused("merges", merges);
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("[{a: ", "}]")] {
        let text = open.repeat(100_000) + "x" + &close.repeat(100_000);
        assert!(refused(open, text).contains(&"yaml.limit"), "{open}");
    }
    let mut stairs = String::new();
    for n in 0..1_000 {
        writeln!(stairs, "{}a:", " ".repeat(n)).unwrap();
    }
    assert!(refused("stairs", stairs).contains(&"yaml.limit"));
}

#[test]
fn size_is_limited_before_parsing() {
    let at_limit = format!("dag: a\ntasks: {{ b: {{ bash: x }} }}\n{}", "#".repeat(FILE_BYTES_MAX));
    assert_eq!(survive("limit", at_limit[..FILE_BYTES_MAX].to_owned()).dags.len(), 1);
    assert_eq!(refused("limit + 1", at_limit[..=FILE_BYTES_MAX].to_owned()), ["yaml.limit"]);
    assert_eq!(refused("2 MiB", "x".repeat(2 * FILE_BYTES_MAX)), ["yaml.limit"]);
    assert_eq!(refused("100 times", "x".repeat(100 * FILE_BYTES_MAX)), ["yaml.limit"]);
}

#[test]
fn strange_bytes_are_survived() {
    assert_eq!(refused("nul", "dag: a\0\n".to_owned()), ["yaml.syntax"]);
    refused("controls", "dag: \u{1}\u{2}\u{7f}\u{85}\u{2028}\ntasks: \u{feff}x".to_owned());
    refused("surrogates", "dag: \"\\uD800\"\n".to_owned());
    refused("bidirectional", "dag: \u{202e}a\n".to_owned());
    let marked = survive("mark", "\u{feff}dag: a\r\ntasks:\r\n  b:\r\n    bash: x\r\n".to_owned());
    assert_eq!(marked.dags.len(), 1, "{:?}", marked.diagnostics);
    for text in [
        "",
        "---",
        "...",
        "---\n---\n---",
        "%YAML 9.9\n---\na",
        "? ",
        "- - - -",
        "!!!",
        "&",
        "*",
        "|",
        ">\n",
        "\"",
        "{",
        "[[[",
    ] {
        refused(text, text.to_owned());
    }
}

#[test]
fn huge_scalars_and_lists_are_survived() {
    let huge = "y".repeat(FILE_BYTES_MAX - 100);
    assert_eq!(survive("scalar", format!("dag: a\ntasks: {{ b: {{ bash: {huge} }} }}")).dags.len(), 1);
    refused("name", format!("dag: {huge}"));
    refused("key", format!("{huge}: a"));
    refused("number", format!("dag: {}", "9".repeat(1_000_000)));
    refused("needs", format!("dag: a\ntasks: {{ b: {{ bash: x, needs: [{}] }} }}", "b, ".repeat(300_000)));
    refused(
        "keys",
        (0..60_000).fold("dag: a\n".to_owned(), |mut text, n| {
            writeln!(text, "key_{n}: 1").unwrap();
            text
        }),
    );
    refused("documents", "---\na: b\n".repeat(100_000));
    refused("errors", "- yes\n".repeat(150_000));
    refused(
        "cron",
        format!("dag: a\nschedule: '{} * * * *'\ntasks: {{ b: {{ bash: x }} }}", "1,".repeat(200_000)),
    );
}

#[test]
fn hostile_templates_are_survived() {
    let task = |template: &str| format!("dag: a\ntasks: {{ b: {{ bash: '{template}' }} }}");
    refused("open", task(&"{{ ".repeat(300_000)));
    refused("braces", task(&format!("{{{{ {}", "{".repeat(900_000))));
    refused("brackets", task(&format!("{{{{ {} }}}}", "(".repeat(900_000))));
    refused("ifs", task(&"{% if ds %}".repeat(80_000)));
    refused("names", task(&"{{ q }}".repeat(140_000)));
    refused("raws", task(&"{% raw %}".repeat(100_000)));
    survive("raws", task(&"{% raw %}{% endraw %}".repeat(40_000)));
}

#[test]
fn hostile_schemas_are_survived() {
    let with = |schema: &str| format!("dag: a\nparams: {{ p: {schema} }}\ntasks: {{ b: {{ bash: x }} }}");
    refused("file", with("{ $ref: 'file:///etc/hostname' }"));
    refused("address", with("{ $ref: 'http://127.0.0.1:1/' }"));
    refused("dialect", with("{ $schema: 'http://127.0.0.1:1/', type: string }"));
    refused("pattern", with("{ type: string, pattern: '(a{1,1000}){1,1000}', default: a }"));
    survive("ring", with("{ $ref: '#', default: 1 }"));
    survive(
        "ring of two",
        with(
            "{ $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, default: 1 }",
        ),
    );
    survive(
        "backtracking",
        with(&format!("{{ type: string, pattern: '^(a+)+$', default: '{}!' }}", "a".repeat(100_000))),
    );
}

#[test]
fn large_dags_are_fast_and_limited() {
    let mut chain = "dag: a\ntasks:\n".to_owned();
    for n in 0..10_000 {
        writeln!(
            chain,
            "  t{n}: {{ bash: x, needs: [{}] }}",
            if n > 0 { format!("t{}", n - 1) } else { String::new() }
        )
        .unwrap();
    }
    let compiled = survive("10,000", chain.clone());
    assert_eq!(compiled.dags[0].tasks.len(), 10_000);
    graph::text(&compiled.dags[0]);
    assert_eq!(refused("10,001", format!("{chain}  more: {{ bash: x }}\n")), ["dag.limit"]);

    let ring = chain.replacen("needs: []", "needs: [t9999]", 1);
    assert_eq!(refused("ring", ring), ["dag.cycle"]);

    let unknown = chain.replace("needs: [t", "needs: [u");
    let diagnostics = survive("unknown", unknown).diagnostics;
    assert!(diagnostics.len() <= 201 && diagnostics.last().unwrap().message.contains("aren't shown"));

    let mut dense = "dag: a\ntasks:\n".to_owned();
    let all: Vec<String> = (0..700).map(|n| format!("t{n}")).collect();
    for (n, name) in all.iter().enumerate() {
        writeln!(dense, "  {name}: {{ bash: x, needs: [{}] }}", all[..n].join(",")).unwrap();
    }
    assert!(
        refused("dense", dense.clone()[..FILE_BYTES_MAX.min(dense.len())].to_owned())
            .iter()
            .any(|code| *code == "dag.limit" || *code == "yaml.syntax" || *code == "yaml.limit")
    );
}

#[test]
fn groups_are_survived() {
    let mut groups =
        "dag: a\ntasks: { t: { bash: x } }\ngroups:\n  g0: { tasks: [t], map: { m: [1] } }\n".to_owned();
    for n in 1..1_000 {
        writeln!(groups, "  g{n}: {{ parent: g{} }}", n - 1).unwrap();
    }
    survive("chain", groups.clone());
    writeln!(groups, "  more: {{ tasks: [] }}").unwrap();
    assert_eq!(refused("1,001", groups), ["dag.limit"]);
    let product =
        "dag: a\ntasks: { t: { bash: x, map: { a: [L], b: [L], c: [L] } } }".replace('L', &"1, ".repeat(100));
    assert_eq!(refused("product", product), ["dag.limit"]);
}

#[test]
fn trees_from_elsewhere_are_not_trusted() {
    // Spans beyond the text, inside of characters and backwards: whatever a script host sends.
    let node = |kind| Node { span: ByteRange::new(usize::MAX - 1, 3), kind };
    let entry = |key: &str, kind| Entry {
        key: Key { span: ByteRange::new(1, usize::MAX), text: key.to_owned() },
        value: node(kind),
    };
    let task = node(Kind::Map(vec![
        entry("bash", Kind::Str("{{ nope }}".to_owned())),
        entry("needs", Kind::Int(1)),
    ]));
    let tasks = Kind::Map(vec![Entry { value: task, ..entry("é", Kind::Null) }]);
    let tree = node(Kind::Map(vec![
        entry("dag", Kind::Str("é é".to_owned())),
        entry("dag", Kind::Str("a".to_owned())),
        entry("tasks", tasks),
        entry("schedule", Kind::Float(f64::NAN)),
    ]));
    let source = Source::new("x.rhai", "é");
    let codes = |tree: Node| -> Vec<&str> {
        let compiled = compile_tree(&source, &[tree], &fixture::catalog(), &NoFiles);
        assert_eq!(compiled.dags, []);
        compiled.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
    };
    assert_eq!(codes(tree.clone()), ["dag.duplicate"]);
    let Kind::Map(mut entries) = tree.kind.clone() else { unreachable!() };
    entries.remove(1);
    assert_eq!(codes(node(Kind::Map(entries))).len(), 4);
    let deep = (0..100).fold(node(Kind::Null), |inner, _| node(Kind::Seq(vec![inner])));
    assert_eq!(codes(deep), ["dag.limit"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
    #[test]
    fn a_file_with_a_slip_is_survived(at in 0..3_000_usize, length in 0..40_usize, put in "[ \\t\\n{}\\[\\]:'\"*&!|>#%@,a0é-]{0,6}") {
        let mut text = include_str!("../language/daily_sales.yaml").to_owned();
        let start = text.floor_char_boundary(at);
        let end = text.floor_char_boundary(start + length);
        text.replace_range(start..end, &put);
        let source = Source::new("x.yaml", text);
        let compiled = compile(&source, &fixture::catalog(), &NoFiles);
        for diagnostic in compiled.diagnostics {
            let drawn = dags::diagnostic::render(&diagnostic, &source, false);
            proptest::prop_assert!(drawn.contains(&diagnostic.code.to_owned()));
        }
    }
}
