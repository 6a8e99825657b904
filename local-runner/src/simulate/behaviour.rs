//! How long tasks take, how often they fail, and how long the lists are that others are repeated over.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use dags::{
    diagnostic::Source,
    glob,
    ids::{DagId, TaskId, TenantId},
    time::Span,
};
use engine::{Question, dispatch::Dispatch};
use serde::Deserialize;
use serde_json::Value;

use super::{history::Seen, is_mapped_over, scenario::Scenario};
use crate::Error;

/// The length of a list that nothing is said about.
const LENGTH: u32 = 3;
/// How far the 95th percentile of a normal distribution is from its middle.
const P95: f64 = 1.644_854;

/// `--durations`.
#[derive(Debug, Clone)]
pub enum Durations {
    /// The same for all tasks.
    Dist(Dist),
    /// A file with a rule for each pattern.
    File(PathBuf),
    /// What a service has seen.
    Seen(Seen),
}

/// `--durations` as it is written.
#[derive(Debug, Clone)]
pub enum Told {
    /// `history`: a service is asked.
    History,
    /// Something else.
    Here(Durations),
}

/// How long something takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Dist {
    /// Always the same.
    Fixed(Span),
    /// Anything in between, each as likely.
    Uniform(Span, Span),
    /// Mostly around the median, sometimes much longer: log-normal with that median and 95th percentile.
    Skewed(Span, Span),
    /// One of these.
    Samples(Vec<Span>),
}

impl std::str::FromStr for Told {
    type Err = String;

    /// `history`, or what [`Durations`] can be.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "history" { Ok(Self::History) } else { text.parse().map(Self::Here) }
    }
}

impl std::str::FromStr for Durations {
    type Err = String;

    /// `45s`, `10s..2m`, `2m,p95=10m`, or the name of a file.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(dist) = Dist::parse(text)? {
            return Ok(Self::Dist(dist));
        }
        if Path::new(text).is_file() {
            return Ok(Self::File(text.into()));
        }
        Err(format!("`{text}` is no file, and no duration such as `45s`, `10s..2m` or `2m,p95=10m`"))
    }
}

impl Dist {
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let span =
            |text: &str| text.trim().parse::<Span>().map_err(|error| format!("`{}`: {error}", text.trim()));
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (span(least)?, span(most)?);
            if least > most {
                return Err(format!("`{text}` begins after its end"));
            }
            return Ok(Some(Self::Uniform(least, most)));
        }
        if let Some((median, p95)) = text.split_once(",p95=") {
            let (median, p95) = (span(median)?, span(p95)?);
            if median <= Span::ZERO || p95 < median {
                return Err(format!("`{text}`: p95 is at least the median, which is more than 0"));
            }
            return Ok(Some(Self::Skewed(median, p95)));
        }
        Ok(text.parse::<Span>().ok().map(Self::Fixed))
    }

    fn draw(&self, mut chance: Chance) -> Span {
        match self {
            Self::Fixed(span) => *span,
            Self::Uniform(least, most) => Span(least.0 + (chance.next() * (most.0 - least.0) as f64) as i64),
            Self::Skewed(median, p95) => {
                let sigma = (p95.0 as f64 / median.0 as f64).ln() / P95;
                // Box and Muller; never the logarithm of nothing.
                let (radius, angle) = (1.0 - chance.next(), chance.next());
                let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                Span((median.0 as f64 * (sigma * normal).exp()) as i64)
            }
            Self::Samples(samples) => {
                let at = (chance.next() * samples.len() as f64) as usize;
                samples.get(at).copied().unwrap_or_default()
            }
        }
    }
}

/// What a rule of a file says of tasks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    takes: Option<Value>,
    /// The chance of a failed try, 0 to 1.
    #[serde(default)]
    fails: f64,
    /// How many tries always fail before one can succeed.
    #[serde(default)]
    failed_tries: u32,
    /// How long a list is that others are repeated over.
    #[serde(default)]
    length: Option<u32>,
    /// The chance that a `when` holds, 0 to 1.
    #[serde(default)]
    holds: Option<f64>,
}

#[derive(Debug, Clone)]
struct Rule {
    takes: Dist,
    fails: f64,
    failed_tries: u32,
    length: u32,
    holds: f64,
    mapped_over: bool,
}

impl Default for Rule {
    fn default() -> Self {
        let takes = Dist::Fixed(Span::seconds(60));
        Self { takes, fails: 0.0, failed_tries: 0, length: LENGTH, holds: 1.0, mapped_over: false }
    }
}

/// What identifies a draw.
#[derive(Debug)]
pub(super) struct Draw<'a> {
    dag: &'a DagId,
    run: &'a str,
    task: &'a TaskId,
    index: i32,
    try_number: u32,
}

impl<'a> Draw<'a> {
    pub(super) fn of(dispatch: &'a Dispatch) -> Self {
        let Dispatch { dag_id: dag, run_name, task_id: task, map_index: index, try_number, .. } = dispatch;
        Self { dag, run: run_name.as_str(), task, index: *index, try_number: *try_number }
    }

    pub(super) fn asked(question: &'a Question) -> Self {
        let Question { dag_id: dag, run_name, task_id: task, map_index: index, try_number, .. } = question;
        Self { dag, run: run_name.as_str(), task, index: *index, try_number: *try_number }
    }
}

/// Numbers from 0 up to 1, the same for the same draw.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How every task behaves.
#[derive(Debug)]
pub(super) struct Behaviour {
    rules: BTreeMap<(TenantId, DagId), BTreeMap<TaskId, Rule>>,
    seed: u64,
    assumptions: BTreeSet<String>,
}

impl Behaviour {
    pub(super) fn new(scenario: &Scenario, durations: &Durations, seed: u64) -> Result<Self, Error> {
        let written = match durations {
            Durations::File(path) => read(path)?,
            Durations::Dist(_) | Durations::Seen(_) => Vec::new(),
        };
        let mut behaviour = Self { rules: BTreeMap::new(), seed, assumptions: BTreeSet::new() };
        let mut unsaid = false;
        for (tenant, dag) in &scenario.dags {
            let mut rules = BTreeMap::new();
            for task in &dag.tasks {
                let mut rule = Rule { mapped_over: is_mapped_over(dag, &task.task_id), ..Rule::default() };
                let name = format!("{}.{}", dag.dag_id, task.task_id);
                match durations {
                    Durations::Dist(dist) => rule.takes = dist.clone(),
                    Durations::Seen(seen) => {
                        match seen.get(&(dag.dag_id.to_string(), task.task_id.to_string())) {
                            Some(samples) => rule.takes = Dist::Samples(samples.clone()),
                            None => unsaid = true,
                        }
                    }
                    Durations::File(_) => {
                        match written.iter().find(|(pattern, _)| glob::fits(pattern, &name)) {
                            Some((_, found)) => {
                                rule = Rule { mapped_over: rule.mapped_over, ..found.clone() };
                            }
                            None => unsaid = true,
                        }
                    }
                }
                rules.insert(task.task_id.clone(), rule);
            }
            behaviour.rules.insert((*tenant, dag.dag_id.clone()), rules);
        }
        if unsaid {
            behaviour
                .assumptions
                .insert("a task that nothing is known about takes 60s and never fails".to_owned());
        }
        Ok(behaviour)
    }

    fn rule(&self, tenant: TenantId, draw: &Draw<'_>) -> Option<&Rule> {
        self.rules.get(&(tenant, draw.dag.clone()))?.get(draw.task)
    }

    fn chance(&self, draw: &Draw<'_>, what: &str) -> Chance {
        let mut hasher = DefaultHasher::new();
        (self.seed, draw.dag.as_str(), draw.run, draw.task.as_str(), draw.index, draw.try_number, what)
            .hash(&mut hasher);
        Chance(hasher.finish())
    }

    /// How long a try takes, whether it fails, and how long the list is that it returns.
    pub(super) fn attempt(&mut self, tenant: TenantId, draw: &Draw<'_>) -> (Span, bool, Option<u32>) {
        let Some(rule) = self.rule(tenant, draw) else { return (Span::seconds(60), false, None) };
        let takes = rule.takes.draw(self.chance(draw, "takes"));
        let fails = draw.try_number <= rule.failed_tries
            || rule.fails > 0.0 && self.chance(draw, "fails").next() < rule.fails;
        let length = rule.mapped_over.then_some(rule.length);
        // Whole seconds, so that what happens at about the same time happens at the same time.
        (Span(((takes.0 + 500_000) / 1_000_000).max(1) * 1_000_000), fails, length)
    }

    /// Whether a condition holds.
    pub(super) fn holds(&mut self, tenant: TenantId, draw: &Draw<'_>) -> bool {
        let holds = self.rule(tenant, draw).map_or(1.0, |rule| rule.holds);
        self.assume("what isn't known about a condition (`when`, `short_circuit`) is that it holds");
        holds >= 1.0 || self.chance(draw, "holds").next() < holds
    }

    /// One of so many, each as likely.
    pub(super) fn one_of(&mut self, draw: &Draw<'_>, n: usize) -> usize {
        ((self.chance(draw, "branch").next() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Something that is taken for granted, for the report.
    pub(super) fn assume(&mut self, what: &str) {
        if !self.assumptions.contains(what) {
            self.assumptions.insert(what.to_owned());
        }
    }

    pub(super) fn assumptions(&self) -> Vec<String> {
        self.assumptions.iter().cloned().collect()
    }
}

/// Reads a file of rules: `pattern: how long`, in order; the first that fits counts.
fn read(path: &Path) -> Result<Vec<(String, Rule)>, Error> {
    let help = "write for example `\"etl.load\": { takes: \"2m,p95=10m\", fails: 0.02 }` and `\"*\": 45s`";
    let wrong = |why: String| Error::usage(format!("{}: {why}", path.display()), help);
    let text = std::fs::read_to_string(path).map_err(Error::path("read", path))?;
    let source = Source::new(path.display().to_string(), text);
    let (documents, diagnostics) = dags::yaml::parse(&source);
    if let Some(first) = diagnostics.first() {
        return Err(wrong(first.message.clone()));
    }
    let Some(dags::tree::Kind::Map(entries)) =
        documents.into_iter().next().map(|document| document.tree.kind)
    else {
        return Err(wrong("it isn't a group of `dag.task: how long` pairs".to_owned()));
    };
    let mut rules = Vec::new();
    for entry in entries {
        let name = entry.key.text;
        let value = entry.value.to_json();
        let rule = rule(value).map_err(|why| wrong(format!("`{name}`: {why}")))?;
        rules.push((name, rule));
    }
    Ok(rules)
}

fn rule(value: Value) -> Result<Rule, String> {
    let mut rule = Rule::default();
    if !value.is_object() {
        rule.takes = dist(&value)?;
        return Ok(rule);
    }
    let written: Written = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if let Some(takes) = &written.takes {
        rule.takes = dist(takes)?;
    }
    let chance = |what: &str, value: f64| {
        if (0.0..=1.0).contains(&value) {
            Ok(value)
        } else {
            Err(format!("`{what}` is a chance from 0 to 1"))
        }
    };
    rule.fails = chance("fails", written.fails)?;
    rule.holds = chance("holds", written.holds.unwrap_or(1.0))?;
    rule.failed_tries = written.failed_tries;
    rule.length = written.length.unwrap_or(LENGTH);
    Ok(rule)
}

fn dist(value: &Value) -> Result<Dist, String> {
    let unreadable =
        || format!("{value} is no duration such as `45s`, `10s..2m`, `2m,p95=10m`, and no list of durations");
    match value {
        Value::String(text) => Dist::parse(text)?.ok_or_else(unreadable),
        Value::Array(list) if !list.is_empty() => {
            let span = |value: &Value| value.as_str().and_then(|text| text.parse::<Span>().ok());
            list.iter().map(span).collect::<Option<_>>().map(Dist::Samples).ok_or_else(unreadable)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(unreadable())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(dist: &str, n: u64) -> Vec<f64> {
        let dist = Dist::parse(dist).unwrap().unwrap();
        (0..n).map(|seed| dist.draw(Chance(seed)).0 as f64 / 1e6).collect()
    }

    fn share(all: &[f64], fits: impl Fn(f64) -> bool) -> f64 {
        all.iter().filter(|one| fits(**one)).count() as f64 / all.len() as f64
    }

    #[test]
    fn draws_follow_their_distribution() {
        assert!(seconds("45s", 10).iter().all(|one| (one - 45.0).abs() < 1e-6));
        let uniform = seconds("10s..30s", 10_000);
        assert!(uniform.iter().all(|one| (10.0..=30.0).contains(one)));
        assert!((share(&uniform, |one| one < 20.0) - 0.5).abs() < 0.02);
        let skewed = seconds("60s,p95=5m", 10_000);
        assert!((share(&skewed, |one| one < 60.0) - 0.5).abs() < 0.02);
        assert!((share(&skewed, |one| one < 300.0) - 0.95).abs() < 0.01);
    }

    #[test]
    fn what_isnt_a_distribution_says_so() {
        assert!(Dist::parse("2m..1m").unwrap_err().contains("after its end"));
        assert!(Dist::parse("2m,p95=1m").unwrap_err().contains("p95"));
        assert_eq!(Dist::parse("history.json").unwrap(), None);
        assert!(rule(serde_json::json!({"takes": "1m", "fials": 1})).unwrap_err().contains("fials"));
        assert!(rule(serde_json::json!({"takes": "1m", "fails": 2})).unwrap_err().contains("chance"));
        assert!(rule(serde_json::json!(30)).unwrap_err().contains("no duration"));
    }
}
