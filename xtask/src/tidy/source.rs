//! Rules about the text of Rust files.

use crate::tidy::{Finding, is_test_file};

const CODE_LINES_MAX: usize = 600;
const TEST_LINES_MAX: usize = 1000;

/// In one of the first lines of a file that a program wrote.
const GENERATED: &str = concat!("@gener", "ated");

/// Patterns that no line of code may hold, with what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    (
        concat!("#[al", "low("),
        "write #[expect(lint, reason = \"...\")], which tells when it is not needed any more",
    ),
    (
        concat!("#![al", "low("),
        "write #![expect(lint, reason = \"...\")], which tells when it is not needed any more",
    ),
    (concat!("#[ign", "ore"), "a test that does not run tells nothing: fix it or remove it"),
    (concat!("#[should_", "panic"), "assert on the error value instead"),
    (concat!("to", "do!("), "finish it, or leave it out"),
    (concat!("unimple", "mented!("), "finish it, or leave it out"),
];

const SQL_WORDS: &[&str] = &[
    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "WITH", "TRUNCATE", "SET", "NOTIFY",
    "LISTEN",
];

const ITEMS: &[&str] =
    &["fn", "struct", "enum", "trait", "impl", "const", "static", "type", "union", "macro_rules!", "async"];

/// What breaks a rule in one file; nothing when it is no Rust file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    if path.rsplit_once('.').is_none_or(|(_, extension)| extension != "rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    // Every file right below `tests/` is a test program to cargo, so what several share needs a folder there.
    if path.rsplit('/').next() == Some(concat!("mo", "d.rs")) && !is_test_file(path) {
        findings.push(Finding::new(path, 0, "module-file", "name it after the module: foo.rs beside foo/"));
    }
    if text.lines().take(5).any(|line| line.contains(GENERATED)) {
        return findings;
    }
    if !text.starts_with("//!") {
        findings.push(Finding::new(
            path,
            1,
            "module-doc",
            "a module begins with //! and says what it is for",
        ));
    }
    findings.extend(size(path, text));
    findings.extend(forbidden(path, text));
    findings.extend(reasons(path, text));
    if !is_test_file(path) {
        findings.extend(sql_by_format(path, code_before_tests(text)));
        findings.extend(expectations(path, code_before_tests(text)));
    }
    if path.ends_with("src/lib.rs") {
        findings.extend(items(path, text));
    }
    findings
}

/// The file up to the tests at its end.
fn code_before_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |end| &text[..=end])
}

fn size(path: &str, text: &str) -> Option<Finding> {
    let all = text.lines().count();
    let code = if is_test_file(path) { 0 } else { code_before_tests(text).lines().count() };
    if code > CODE_LINES_MAX {
        let message = format!("{code} lines of code, at most {CODE_LINES_MAX}: split it by concept");
        return Some(Finding::new(path, 0, "size", message));
    }
    (all > TEST_LINES_MAX).then(|| {
        let message = format!("{all} lines with its tests, at most {TEST_LINES_MAX}: split it by concept");
        Finding::new(path, 0, "size", message)
    })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn forbidden(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
        for (pattern, instead) in FORBIDDEN {
            if line.contains(pattern) {
                findings.push(Finding::new(path, number + 1, "forbidden", format!("{pattern}: {instead}")));
            }
        }
    }
    findings
}

/// Every expectation of a lint says why. It may span lines.
fn reasons(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for start in [concat!("#[exp", "ect("), concat!("#![exp", "ect(")] {
        for (at, _) in text.match_indices(start) {
            let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let attribute = text[at..].split(")]").next().unwrap_or_default();
            if !is_comment(&text[line_start..]) && !attribute.contains("reason") {
                findings.push(Finding::new(
                    path,
                    line_of(text, at),
                    "reason",
                    "an expected lint needs a reason",
                ));
            }
        }
    }
    findings
}

/// SQL that is put together by formatting is how injections happen.
fn sql_by_format(path: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for macro_name in ["format!(", "format_args!("] {
        for (at, _) in code.match_indices(macro_name) {
            let literal = code[at + macro_name.len()..].trim_start().trim_start_matches(['r', '#']);
            let Some(inside) = literal.strip_prefix('"') else { continue };
            let inside = inside.trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
            let word: String = inside.chars().take_while(char::is_ascii_uppercase).collect();
            let ends = inside[word.len()..].starts_with(char::is_whitespace);
            if ends && SQL_WORDS.contains(&word.as_str()) {
                let message = "SQL is a constant text with bound parameters, never formatted";
                findings.push(Finding::new(path, line_of(code, at), "sql-format", message));
            }
        }
    }
    findings
}

/// Outside of tests `expect` states what can't be otherwise; what can be is an error value.
fn expectations(path: &str, code: &str) -> Vec<Finding> {
    let call = concat!(".exp", "ect(");
    let mut findings = Vec::new();
    for (at, _) in code.match_indices(call) {
        let line_start = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let argument = code[at + call.len()..].trim_start();
        let is_text = argument.starts_with('"') || argument.starts_with("&format!");
        if is_text && !argument.starts_with("\"invariant: ") && !is_comment(&code[line_start..]) {
            let message = "say \"invariant: ...\" and why it holds, or return an error";
            findings.push(Finding::new(path, line_of(code, at), "expect", message));
        }
    }
    findings
}

/// A `lib.rs` is a table of contents.
fn items(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in code_before_tests(text).lines().enumerate() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        let first = words.next().unwrap_or_default();
        let first = first.split(['<', '(']).next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) && ITEMS.contains(&first) {
            let message = "lib.rs holds docs, modules and re-exports; move this into a module";
            findings.push(Finding::new(path, number + 1, "lib", message));
        }
    }
    findings
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(path, text).into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn a_good_module_has_no_findings() {
        let text = "//! Pools.\n\n#[expect(clippy::large, reason = \"few\")]\nfn a() {}\n";
        assert_eq!(rules("dags/src/pool.rs", text), []);
        assert_eq!(rules("README.md", "no module doc"), []);
    }

    #[test]
    fn a_module_says_what_it_is_for() {
        assert_eq!(rules("dags/src/pool.rs", "use std::fmt;\n"), [(1, "module-doc")]);
        assert_eq!(rules("dags/src/pool.rs", &format!("// {GENERATED} by prost\nfn a() {{}}\n")), []);
    }

    #[test]
    fn a_module_is_a_file_with_its_name() {
        assert_eq!(rules(concat!("dags/src/yaml/mo", "d.rs"), "//! YAML.\n"), [(0, "module-file")]);
        assert_eq!(rules(concat!("dags/tests/common/mo", "d.rs"), "//! Shared.\n"), []);
    }

    #[test]
    fn sizes_are_limited_and_tests_have_more_room() {
        let code = |lines: usize| format!("//! Long.\n{}", "fn a() {}\n".repeat(lines - 1));
        assert_eq!(rules("dags/src/a.rs", &code(600)), []);
        assert_eq!(rules("dags/src/a.rs", &code(601)), [(0, "size")]);
        assert_eq!(rules("dags/tests/a.rs", &code(1000)), []);
        assert_eq!(rules("dags/tests/a.rs", &code(1001)), [(0, "size")]);
        let with_tests =
            |tests: usize| format!("{}\n#[cfg(test)]\nmod tests {{\n{}", code(500), "// x\n".repeat(tests));
        assert_eq!(rules("dags/src/a.rs", &with_tests(400)), []);
        assert_eq!(rules("dags/src/a.rs", &with_tests(600)), [(0, "size")]);
    }

    #[test]
    fn forbidden_code_is_found_outside_comments() {
        for (pattern, _) in FORBIDDEN {
            let text = format!("//! A module.\n// {pattern} in a comment\n    {pattern}\n");
            assert_eq!(rules("dags/src/a.rs", &text), [(3, "forbidden")], "{pattern}");
        }
    }

    #[test]
    fn an_expected_lint_needs_a_reason_also_over_several_lines() {
        let good = concat!("//! A.\n#[exp", "ect(\n    clippy::a,\n    reason = \"b\"\n)]\nfn a() {}\n");
        assert_eq!(rules("dags/src/a.rs", good), []);
        let bad = concat!("//! A.\n\n#[exp", "ect(clippy::a)]\n// reason\nfn a() {}\n");
        assert_eq!(rules("dags/src/a.rs", bad), [(3, "reason")]);
    }

    #[test]
    fn sql_is_never_formatted_but_in_tests() {
        let sql = "//! A.\nlet a = format!(\n    r#\"\n  SELECT * FROM {table}\"#);\n";
        assert_eq!(rules("migrations/src/a.rs", sql), [(2, "sql-format")]);
        assert_eq!(rules("migrations/tests/a.rs", sql), []);
        let at_the_end = format!("//! A.\nfn a() {{}}\n\n#[cfg(test)]\nmod tests {{\n{}}}\n", &sql[7..]);
        assert_eq!(rules("migrations/src/a.rs", &at_the_end), []);
        for harmless in
            ["format!(\"SELECTED {n}\")", "format!(\"update of {a} failed\")", "format!(\"{a} SELECT \")"]
        {
            assert_eq!(
                rules("migrations/src/a.rs", &format!("//! A.\nlet a = {harmless};\n")),
                [],
                "{harmless}"
            );
        }
    }

    #[test]
    fn expect_names_an_invariant_but_in_tests() {
        let bad = concat!("//! A.\nlet a = b\n    .exp", "ect(\"b is there\");\n");
        assert_eq!(rules("dags/src/a.rs", bad), [(3, "expect")]);
        assert_eq!(rules("dags/tests/a.rs", bad), []);
        let good = concat!("//! A.\nlet a = b.exp", "ect(\"invariant: b was checked above\");\n");
        assert_eq!(rules("dags/src/a.rs", good), []);
        let other = concat!("//! A.\nlet a = parser.exp", "ect(Token::Colon)?;\n");
        assert_eq!(rules("dags/src/a.rs", other), []);
    }

    #[test]
    fn a_lib_is_a_table_of_contents() {
        let text = "//! A.\n#![forbid(x)]\nmod a;\npub mod b;\npub use a::{\n    C,\n};\n";
        assert_eq!(rules("dags/src/lib.rs", text), []);
        for item in
            ["fn a() {}", "pub fn a() {}", "pub(crate) struct A;", "impl<T> A for T {}", "const A: u8 = 0;"]
        {
            assert_eq!(rules("dags/src/lib.rs", &format!("//! A.\n{item}\n")), [(2, "lib")], "{item}");
        }
        assert_eq!(rules("dags/src/pool.rs", "//! A.\nfn a() {}\n"), []);
    }
}
