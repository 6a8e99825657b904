//! The report as one HTML page that needs nothing else: text, tables and charts drawn as SVG.

use std::fmt::Write as _;

use super::report::{COLUMNS, Report, UsageReport, by_lateness, span};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 150.0;
/// Room for the numbers at the left.
const LEFT: f64 = 44.0;
/// Room for the dates below.
const BELOW: f64 = 20.0;
/// The most rows of a table.
const ROWS: usize = 200;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2530; --dim: #5b6773; --line: #d5dbe1; --area: #9cc4e8; --peak: #1f6fb2; --limit: #b3261e; --back: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --dim: #9aa6b2; --line: #35404b; --area: #27537a; --peak: #7ab8ee; --limit: #f2837b; --back: #14191f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p.dim, figcaption { color: var(--dim); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 11px; }
.facts { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; padding: 0; list-style: none; } .facts b { display: block; font-size: 1.4rem; }
.scroll { overflow-x: auto; }
";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page.
pub fn html(report: &Report) -> String {
    let mut out = String::new();
    let title = format!("Simulation from {} to {}", report.from, report.to);
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p class=\"dim\">The scheduling engine of the service on a clock of its own, seed {}.</p>",
        report.seed
    );
    facts(&mut out, report);
    out.push_str("<h2>In use</h2>\n<p class=\"dim\">The area is the average, the line the most at once, red the limit.</p>\n");
    for usage in &report.usage {
        chart(&mut out, report, usage);
    }
    waits(&mut out, report);
    dags(&mut out, report);
    if !report.deadlines.is_empty() {
        out.push_str(
            "<h2>Missed deadlines</h2>\n<table><tr><th>DAG</th><th class=\"text\">Run</th><th>At</th></tr>\n",
        );
        for missed in report.deadlines.iter().take(ROWS) {
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td class=\"text\">{}</td><td>{}</td></tr>",
                escape(&missed.dag),
                escape(&missed.run),
                missed.at
            );
        }
        out.push_str("</table>\n");
        more(&mut out, report.deadlines.len());
    }
    if !report.assumptions.is_empty() {
        out.push_str("<h2>Taken for granted</h2>\n<ul>\n");
        for assumption in &report.assumptions {
            let _ = writeln!(out, "<li>{}</li>", escape(assumption));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn facts(out: &mut String, report: &Report) {
    let facts = [
        ("DAGs", report.dags.len() as u64),
        ("runs", report.runs),
        ("failed runs", report.failed_runs),
        ("unfinished at the end", report.unfinished_runs),
        ("task instances", report.task_instances),
        ("attempts", report.attempts),
        ("missed deadlines", report.deadlines.len() as u64),
    ];
    out.push_str("<ul class=\"facts\">\n");
    for (name, value) in facts {
        let _ = writeln!(out, "<li><b>{value}</b>{name}</li>");
    }
    out.push_str("</ul>\n");
}

fn chart(out: &mut String, report: &Report, usage: &UsageReport) {
    let limit = usage.slots.filter(|slots| *slots <= usage.peak.max(1) * 4);
    let top = limit.unwrap_or(0).max(usage.peak).max(1) as f64;
    let parts = usage.averages.len().max(1) as f64;
    let x = |part: f64| LEFT + (WIDTH - LEFT) * part / parts;
    let y = |value: f64| (HEIGHT - BELOW) * (1.0 - value / (top * 1.05));
    let base = y(0.0);
    let mut area = format!("M{:.1} {base:.1}", x(0.0));
    let mut peak = String::new();
    for (part, (average, most)) in usage.averages.iter().zip(&usage.peaks).enumerate() {
        let (from, to) = (x(part as f64), x(part as f64 + 1.0));
        let _ = write!(area, "L{from:.1} {0:.1}L{to:.1} {0:.1}", y(*average));
        let _ = write!(
            peak,
            "{}{from:.1} {1:.1}L{to:.1} {1:.1}",
            if part == 0 { "M" } else { "L" },
            y(*most as f64)
        );
    }
    let _ = write!(area, "L{:.1} {base:.1}Z", x(parts));
    let name = escape(&usage.what);
    let slots = usage.slots.map_or("without a limit".to_owned(), |slots| format!("of {slots} slots"));
    let caption = format!("{:.1} on average, {} at most, {slots}", usage.average, usage.peak);
    let _ = writeln!(
        out,
        "<h3>{name}</h3>\n<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}: {caption}\">\n\
         <path d=\"{area}\" fill=\"var(--area)\"/>\n<path d=\"{peak}\" fill=\"none\" stroke=\"var(--peak)\"/>"
    );
    for value in [0.0, (top / 2.0).floor(), top] {
        let at = y(value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    if let Some(limit) = limit {
        let at = y(limit as f64);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--limit)\" stroke-dasharray=\"6 4\"/>"
        );
    }
    let whole = report.to.since(report.from).0;
    for (share, anchor) in [(0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end")]
    {
        let at = dags::time::Timestamp(report.from.0 + (whole as f64 * share) as i64).to_string();
        let short = at.get(..16).unwrap_or(&at).replace('T', " ");
        let place = x(parts * share);
        let _ = writeln!(
            out,
            "<text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{short}</text>",
            HEIGHT - 4.0
        );
    }
    let _ = writeln!(out, "</svg><figcaption>{caption}</figcaption></figure>");
}

fn waits(out: &mut String, report: &Report) {
    out.push_str("<h2>Waits</h2>\n");
    if report.waits.is_empty() {
        out.push_str("<p>Nothing waited for a second or longer.</p>\n");
        return;
    }
    let longest = report.waits.first().map_or(1.0, |wait| wait.total.max(1.0));
    out.push_str(
        "<div class=\"scroll\"><table><tr><th>DAG</th><th class=\"text\">For</th><th>Waits</th><th>In all</th>\
         <th>Longest</th><th class=\"text\">Share of the first</th></tr>\n",
    );
    for wait in report.waits.iter().take(ROWS) {
        let bar = 140.0 * wait.total / longest;
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"text\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">\
             <svg viewBox=\"0 0 140 10\" style=\"width:140px\" aria-hidden=\"true\"><rect width=\"{bar:.1}\" height=\"10\" \
             fill=\"var(--peak)\"/></svg></td></tr>",
            escape(&wait.dag),
            escape(&wait.cause),
            wait.count,
            span(wait.total),
            span(wait.longest),
        );
    }
    out.push_str("</table></div>\n");
    more(out, report.waits.len());
}

fn dags(out: &mut String, report: &Report) {
    let dags = by_lateness(report);
    out.push_str("<h2>DAGs</h2>\n<div class=\"scroll\"><table><tr><th>DAG</th>");
    for column in &COLUMNS {
        let _ = write!(out, "<th>{}</th>", column.head);
    }
    out.push_str("</tr>\n");
    for dag in dags.iter().take(ROWS) {
        let _ = write!(out, "<tr><td>{}</td>", escape(&dag.dag));
        for column in &COLUMNS {
            let _ = write!(out, "<td>{}</td>", (column.value)(dag));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    more(out, dags.len());
}

fn more(out: &mut String, all: usize) {
    if all > ROWS {
        let _ = writeln!(out, "<p class=\"dim\">and {} more; `--format json` has all</p>", all - ROWS);
    }
}
