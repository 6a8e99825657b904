//! `schedule`: when runs are made. Short forms become the long one; the timetable checks what only it understands.

use jiff::tz::TimeZone;

use super::{Context, object::Object};
use crate::{
    diagnostic::{Draft, code},
    model::{AssetCondition, Missed, OnGap, OnOverlap, Schedule, TimetableKind, When},
    suggest,
    timetable::{Bounds, InvalidSchedule, Timetable},
    tree::{ByteRange, Kind, Node},
};

/// The keys of `schedule`.
pub(crate) const SCHEDULE_KEYS: &[&str] = &[
    "cron",
    "crons",
    "every",
    "once",
    "continuous",
    "assets",
    "timezone",
    "timetable",
    "on_gap",
    "on_overlap",
    "missed",
    "max_lateness",
];
/// The keys of which a schedule has one; `assets` may stand beside `cron` or `crons`.
const SOURCES: &[&str] = &["cron", "crons", "every", "once", "continuous", "assets"];
/// Short names of cron expressions.
const NICKNAMES: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 */3 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];
const CRONS_MAX: usize = 100;
const ASSETS_MAX: usize = 1_000;

/// A schedule that never fires by itself, in UTC.
pub(super) fn never() -> Schedule {
    Schedule {
        when: When::Never,
        timezone: "UTC".to_owned(),
        timetable: TimetableKind::default(),
        on_gap: OnGap::default(),
        on_overlap: OnOverlap::default(),
        missed: Missed::default(),
        max_lateness: None,
    }
}

impl Context<'_, '_> {
    /// Reads `schedule` and the zone that dates are read in.
    pub(super) fn schedule(&mut self, node: Option<&Node>) -> (Schedule, TimeZone) {
        let mut schedule = never();
        let Some(node) = node else { return (schedule, TimeZone::UTC) };
        match &node.kind {
            Kind::Null => {}
            Kind::Str(text) => {
                if let Some(when) = self.short_form(text, node) {
                    schedule.when = when;
                }
            }
            Kind::Map(_) => return self.long_form(node),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Seq(_) => {
                let help = "for example `schedule: \"30 2 * * *\"`, `schedule: \"@daily\"` or `schedule: { every: 30m }`";
                self.expected(node, "schedule", "a cron expression or an object", Some(help.to_owned()));
            }
        }
        (schedule, TimeZone::UTC)
    }

    fn short_form(&mut self, text: &str, node: &Node) -> Option<When> {
        match text.trim() {
            "@once" => Some(When::Once),
            "@continuous" => Some(When::Continuous),
            "@never" | "none" | "None" => {
                self.refused(node, "schedule", "isn't needed for a DAG without a schedule: remove the line");
                None
            }
            other => Some(When::Crons(vec![self.cron(other, node)?])),
        }
    }

    /// One cron expression in its canonical spelling.
    fn cron(&mut self, text: &str, node: &Node) -> Option<String> {
        if text.starts_with('@') {
            let lower = text.to_ascii_lowercase();
            if let Some((_, cron)) = NICKNAMES.iter().find(|(name, _)| *name == lower) {
                return Some((*cron).to_owned());
            }
            let names = || NICKNAMES.iter().map(|(name, _)| *name).chain(["@once", "@continuous"]);
            let help = self
                .reporter
                .did_you_mean(&lower, names())
                .unwrap_or_else(|| format!("write {} or a cron expression", suggest::list(names(), "or")));
            let message = format!("`{text}` is no known schedule");
            self.push(Draft::error(code::SCHEDULE_INVALID, message).at(node.span, "unknown").help(help));
            return None;
        }
        if text.parse::<crate::time::Span>().is_ok() {
            let message = format!("`{text}` isn't a cron expression");
            let help = format!("for a fixed distance between runs write `schedule: {{ every: {text} }}`");
            self.push(
                Draft::error(code::SCHEDULE_INVALID, message).at(node.span, "this is a duration").help(help),
            );
            return None;
        }
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn long_form(&mut self, node: &Node) -> (Schedule, TimeZone) {
        let mut schedule = never();
        let Kind::Map(entries) = &node.kind else { return (schedule, TimeZone::UTC) };
        let known = entries.iter().filter(|entry| entry.key.text != "catchup");
        for entry in known {
            self.known_key(&entry.key, &entry.value, "`schedule`", SCHEDULE_KEYS);
        }
        let Some(object) = self.open_object(node, "schedule", "an object") else {
            return (schedule, TimeZone::UTC);
        };
        self.refuse_catchup(&object);
        schedule.when = self.when(&object).unwrap_or(When::Never);
        let mut zone = TimeZone::UTC;
        if let Some(node) = object.get("timezone")
            && let Some(name) = self.text(node, "timezone")
            && let Some(found) = self.zone(name, node)
        {
            (schedule.timezone, zone) = (name.to_owned(), found);
        }
        if let Some(node) = object.get("timetable") {
            schedule.timetable = self.choice(node, "timetable", TimetableKind::ALL).unwrap_or_default();
        }
        if let Some(node) = object.get("on_gap") {
            schedule.on_gap = self.choice(node, "on_gap", OnGap::ALL).unwrap_or_default();
        }
        if let Some(node) = object.get("on_overlap") {
            schedule.on_overlap = self.choice(node, "on_overlap", OnOverlap::ALL).unwrap_or_default();
        }
        if let Some(node) = object.get("missed") {
            schedule.missed = self.choice(node, "missed", Missed::ALL).unwrap_or_default();
        }
        schedule.max_lateness =
            object.get("max_lateness").and_then(|node| self.some_span(node, "max_lateness"));
        (schedule, zone)
    }

    /// `catchup` says the same as `missed`, with two of its three choices.
    pub(super) fn refuse_catchup(&mut self, object: &Object<'_>) {
        let Some(entry) = object.entry("catchup") else { return };
        let help = match entry.value.kind {
            Kind::Bool(false) => "write `missed: latest` inside of `schedule`, or nothing: it is the default",
            _ => "write `missed: all` inside of `schedule`",
        };
        self.push(
            Draft::error(
                code::SCHEDULE_CATCHUP,
                "there is no `catchup`: what happens to missed runs is `missed`",
            )
            .at(entry.key.span, "Airflow's word")
            .help(help.to_owned()),
        );
    }

    fn when(&mut self, object: &Object<'_>) -> Option<When> {
        let given: Vec<_> =
            object.entries().iter().filter(|entry| SOURCES.contains(&entry.key.text.as_str())).collect();
        let names: Vec<&str> = given.iter().map(|entry| entry.key.text.as_str()).collect();
        match names.as_slice() {
            [] => {
                self.push(
                    Draft::error(code::SCHEDULE_INVALID, "the schedule doesn't say when runs are made")
                        .at(object.span, "one of them must be here")
                        .help(format!("add one of {}", suggest::list(SOURCES.iter().copied(), "or"))),
                );
                return None;
            }
            [_] | ["assets", "cron" | "crons"] | ["cron" | "crons", "assets"] => {}
            [_, _, ..] => {
                let message =
                    format!("a schedule can't have {}", suggest::list(names.iter().copied(), "and"));
                self.push(
                    Draft::error(code::SCHEDULE_INVALID, message)
                        .at(given[1].key.span, "and this")
                        .at(given[0].key.span, "this")
                        .help("keep one; only `assets` may stand beside `cron` or `crons`".to_owned()),
                );
                return None;
            }
        }
        let crons = match (object.get("cron"), object.get("crons")) {
            (Some(node), None) => {
                let text = self.text(node, "cron")?;
                Some(vec![self.cron(text.trim(), node)?])
            }
            (None, Some(node)) => Some(self.crons(node)?),
            _ => None,
        };
        let assets = match object.get("assets") {
            Some(node) => Some(self.assets(node)?),
            None => None,
        };
        match (assets, crons) {
            (Some(assets), Some(crons)) => return Some(When::AssetsOrCrons { assets, crons }),
            (Some(assets), None) => return Some(When::Assets(assets)),
            (None, Some(crons)) => return Some(When::Crons(crons)),
            (None, None) => {}
        }
        if let Some(node) = object.get("every") {
            return self.some_span(node, "every").map(When::Every);
        }
        for (key, when) in [("once", When::Once), ("continuous", When::Continuous)] {
            if let Some(node) = object.get(key) {
                if self.flag(node, key)? {
                    return Some(when);
                }
                self.refused(node, key, "can only be `true`; remove the line if it isn't");
            }
        }
        None
    }

    fn crons(&mut self, node: &Node) -> Option<Vec<String>> {
        let texts = self.texts(node, "crons", "a list of cron expressions");
        if texts.is_empty() || texts.len() > CRONS_MAX {
            if matches!(node.kind, Kind::Seq(_)) {
                self.refused(node, "crons", format_args!("must have 1 to {CRONS_MAX} entries"));
            }
            return None;
        }
        let mut crons: Vec<String> =
            texts.into_iter().filter_map(|(text, node)| self.cron(text.trim(), node)).collect();
        crons.sort();
        crons.dedup();
        Some(crons)
    }

    /// An asset, a list (all of them), `{ any: [...] }` or `{ all: [...] }`.
    fn assets(&mut self, node: &Node) -> Option<AssetCondition> {
        let mut left = ASSETS_MAX;
        let condition = self.asset_condition(node, &mut left);
        if left == 0 {
            self.refused(node, "assets", format_args!("may name at most {ASSETS_MAX} assets"));
        }
        condition
    }

    // The recursion is bounded by the depth of the tree.
    fn asset_condition(&mut self, node: &Node, left: &mut usize) -> Option<AssetCondition> {
        match &node.kind {
            Kind::Str(name) if name.is_empty() || name.len() > 1_500 => {
                self.refused(node, "assets", "must name assets by 1 to 1500 bytes");
                None
            }
            Kind::Str(name) => {
                *left = left.saturating_sub(1);
                Some(AssetCondition::Asset(name.clone()))
            }
            Kind::Seq(nodes) => self.asset_list(nodes, node, left).map(AssetCondition::All),
            Kind::Map(_) => {
                let object = self.object(node, "`assets`", &["any", "all"])?;
                match (object.get("any"), object.get("all")) {
                    (Some(list), None) => {
                        let nodes = list_of(list);
                        self.asset_list(nodes, list, left).map(AssetCondition::Any)
                    }
                    (None, Some(list)) => self.asset_list(list_of(list), list, left).map(AssetCondition::All),
                    _ => {
                        self.refused(node, "assets", "must have either `any` or `all`");
                        None
                    }
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => {
                self.expected(
                    node,
                    "assets",
                    "an asset's name, a list, `{ any: [...] }` or `{ all: [...] }`",
                    None,
                );
                None
            }
        }
    }

    fn asset_list(&mut self, nodes: &[Node], node: &Node, left: &mut usize) -> Option<Vec<AssetCondition>> {
        if nodes.is_empty() {
            self.refused(node, "assets", "must name at least one asset");
            return None;
        }
        nodes.iter().map(|node| self.asset_condition(node, left)).collect()
    }

    /// Without a start date there is no first interval to begin with.
    pub(super) fn check_start(&mut self, schedule: &Schedule, has_start: bool, at: ByteRange) {
        let repeats = matches!(schedule.when, When::Every(_) | When::Crons(_) | When::AssetsOrCrons { .. });
        let from_the_start = schedule.missed == Missed::All && schedule.timetable == TimetableKind::Interval;
        if repeats && from_the_start && !has_start {
            let message =
                "a schedule of intervals with `missed: all` has nowhere to begin, so it would never run";
            self.push(
                Draft::error(code::SCHEDULE_INVALID, message)
                    .at(at, "which interval is the first?")
                    .help("add `start_date: 2026-01-01` beside `schedule`".to_owned()),
            );
        }
    }

    /// Asks the timetable, which knows cron and the calendar.
    pub(super) fn check_timetable(&mut self, schedule: &Schedule, bounds: Bounds, at: ByteRange) {
        let Err(error) = Timetable::new(schedule, bounds) else { return };
        let help = match &error {
            InvalidSchedule::Cron { .. } | InvalidSchedule::NeverFires { .. } | InvalidSchedule::NoCron => Some(
                "five fields: minute, hour, day of month, month, day of week; `30 2 * * 1-5` is 02:30 on weekdays".to_owned(),
            ),
            InvalidSchedule::UnknownZone { .. } | InvalidSchedule::Period(_) => None,
        };
        self.push(Draft::error(code::SCHEDULE_INVALID, error.to_string()).at(at, "this schedule").help(help));
    }
}

fn list_of(node: &Node) -> &[Node] {
    if let Kind::Seq(nodes) = &node.kind { nodes } else { std::slice::from_ref(node) }
}
