//! Inputs made to order: those that the language must survive by name. Too large or too dull to be committed as files.

use std::fmt::Write as _;

use crate::Target;

/// An input and why it is hostile.
#[derive(Debug, Clone, Copy)]
pub struct Hostile {
    /// Who must survive it.
    pub target: Target,
    /// What it is.
    pub name: &'static str,
    /// Makes it.
    pub make: fn() -> Vec<u8>,
}

/// A hundred megabytes.
const HUGE: usize = 100 << 20;
/// A megabyte: what a DAG file may have.
const LARGE: usize = 1 << 20;

/// All of them. Each target has a bomb, something endless, deep nesting and something far too large.
pub const ALL: &[Hostile] = &[
    yaml("bomb", laughs),
    yaml("bomb-of-merges", || ("a: &a { k: v }\n".to_owned() + &"<<: *a\n".repeat(20_000)).into_bytes()),
    yaml("bomb-of-maps", || {
        format!("dag: a\ntasks: {{ b: {{ bash: x, map: {{ {} }} }} }}\n", "m: [1, 2, 3], ".repeat(20_000))
            .into_bytes()
    }),
    yaml("endless", || "- - - - - - - -\n".repeat(LARGE / 16).into_bytes()),
    yaml("nesting", || ("[".repeat(400_000) + &"]".repeat(400_000)).into_bytes()),
    yaml("nesting-of-maps", || "{a: ".repeat(LARGE / 4).into_bytes()),
    yaml("100-MB", || huge("dag: a\ntasks: { b: { bash: x } }\n", "# filled up\n")),
    // A cron expression comes in a file.
    yaml("100-MB-cron", || huge("dag: a\ntasks: { b: { bash: x } }\nschedule: 0 0 * * *", " *")),
    yaml("1-MB-cron", || {
        format!(
            "dag: a\nschedule: '{} * * * *'\ntasks: {{ b: {{ bash: x }} }}\n",
            "1,".repeat(LARGE / 2 - 60)
        )
        .into_bytes()
    }),
    yaml("1-MB-zone", || {
        let zone = "Europe/".repeat(LARGE / 8);
        format!("dag: a\nschedule: {{ cron: '@daily', timezone: {zone} }}\ntasks: {{ b: {{ bash: x }} }}\n")
            .into_bytes()
    }),
    yaml("1-MB-of-tasks", || {
        let mut text = "dag: a\ntasks:\n".to_owned();
        for n in 0..9_999 {
            let _ = writeln!(text, "  t{n}: {{ bash: 'echo {{{{ ds }}}} {n}', needs: [t{}] }}", n + 1);
        }
        (text + "  t9999: { bash: x }\n").into_bytes()
    }),
    rhai("bomb", || b"let s = \"x\"; let a = []; loop { s += s; a.push(s); }".to_vec()),
    rhai("bomb-of-texts", || {
        b"let a = []; for i in 0..2000 { let s = \"\"; s.pad(500000, \"x\"); a.push(s); } a".to_vec()
    }),
    rhai("bomb-of-lists", || b"let a = [1]; for i in 0..60 { a = [a, a, a, a]; } a".to_vec()),
    rhai("bomb-of-tasks", || {
        b"let d = dag(\"d\"); let i = 0; loop { d.task(\"t\" + i, bash(\"x\")); i += 1; }".to_vec()
    }),
    rhai("endless", || b"loop {}".to_vec()),
    rhai("endless-caught", || b"loop { try { loop {} } catch { } }".to_vec()),
    rhai("endless-call", || b"fn f(n) { f(n + 1) } f(0)".to_vec()),
    rhai("endless-import", || b"import \"me\" as me; me::f()".to_vec()),
    rhai("nesting", || ("(".repeat(LARGE / 2) + &")".repeat(LARGE / 2)).into_bytes()),
    rhai("nesting-of-blocks", || "if true { ".repeat(LARGE / 10).into_bytes()),
    rhai("nesting-of-lists", || b"let a = []; loop { a = [a]; }".to_vec()),
    rhai("nesting-of-comments", || "/*".repeat(LARGE / 2).into_bytes()),
    rhai("nesting-of-minus", || ("-".repeat(LARGE - 1) + "1").into_bytes()),
    rhai("1-MB-name", || "x".repeat(LARGE).into_bytes()),
    rhai("1-MB-function", || ("dag".repeat(LARGE / 4) + "(1)").into_bytes()),
    rhai("100-MB", || huge("dag(\"a\")\n", "// filled up\n")),
    cron("bomb", || ("1,".repeat(LARGE / 2) + "1 * * * *").into_bytes()),
    cron("bomb-of-expressions", || "* * * * *;".repeat(LARGE / 10).into_bytes()),
    cron("endless", || b"0 0 30 2 *\nUTC\n2026-01-01T00:00:00Z\ninterval all started".to_vec()),
    cron("endless-leap", || {
        b"0 0 29 2 1#5\nEurope/Berlin\n2026-01-01T00:00:00Z\ninterval all started".to_vec()
    }),
    cron("endless-second", || b"* * * * * *\nAfrica/Casablanca\n1970-01-01T00:00:00Z\nall started".to_vec()),
    cron("nesting", || ("*/".repeat(LARGE / 2) + "1 * * * *").into_bytes()),
    cron("1-MB-zone", || ("@daily\n".to_owned() + &"Europe/".repeat(LARGE / 8)).into_bytes()),
    cron("1-MB", || ("0 0 * * *".to_owned() + &" *".repeat(LARGE / 2)).into_bytes()),
    template("bomb", || {
        b"{{ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) }}".to_vec()
    }),
    template("bomb-of-lists", || b"{{ ('x' * 90000000) | list | map('upper') | list | join }}".to_vec()),
    template("bomb-of-replacements", || b"{{ ('x' * 1000000) | replace('x', 'y' * 1000000) }}".to_vec()),
    template("bomb-of-loops", || {
        b"{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}".to_vec()
    }),
    template("endless", || {
        b"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_vec()
    }),
    template("nesting", || {
        ("{{ ".to_owned() + &"(".repeat(30_000) + &")".repeat(30_000) + " }}").into_bytes()
    }),
    template("nesting-of-ifs", || ("{% if ds %}".repeat(5_000)).into_bytes()),
    template("nesting-of-lists", || ("{{ ".to_owned() + &"[".repeat(60_000)).into_bytes()),
    template("nesting-of-nots", || ("{{ ".to_owned() + &"not ".repeat(16_000) + "1 }}").into_bytes()),
    template("nesting-of-minus", || ("{{ ".to_owned() + &"-".repeat(60_000) + "1 }}").into_bytes()),
    template("nesting-of-filters", || ("{{ ds".to_owned() + &"|e".repeat(30_000) + " }}").into_bytes()),
    template("wide", || ("{{ '".to_owned() + &"x".repeat(65_529) + "' | }}").into_bytes()),
    template("100-MB", || huge("{{ ds }}", "{{ ds }} and ")),
];

const fn yaml(name: &'static str, make: fn() -> Vec<u8>) -> Hostile {
    Hostile { target: Target::Yaml, name, make }
}

const fn rhai(name: &'static str, make: fn() -> Vec<u8>) -> Hostile {
    Hostile { target: Target::Rhai, name, make }
}

const fn cron(name: &'static str, make: fn() -> Vec<u8>) -> Hostile {
    Hostile { target: Target::Cron, name, make }
}

const fn template(name: &'static str, make: fn() -> Vec<u8>) -> Hostile {
    Hostile { target: Target::Template, name, make }
}

/// Ten times ten times ten ...
fn laughs() -> Vec<u8> {
    let mut text = "dag: a\nx0: &x0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for n in 1..20 {
        let aliases = vec![format!("*x{}", n - 1); 10].join(", ");
        let _ = writeln!(text, "x{n}: &x{n} [{aliases}]");
    }
    text.into_bytes()
}

fn huge(start: &str, more: &str) -> Vec<u8> {
    let mut text = start.as_bytes().to_vec();
    text.reserve_exact(HUGE);
    while text.len() < HUGE {
        text.extend_from_slice(more.as_bytes());
    }
    text
}
