//! A picture of who has how much of an executor over time: three tenants that borrow, have their own back and give way.
//!
//! `cargo run -p engine --example shares > docs/shares.svg`. What it shows is what the engine did, driven with a clock and an
//! executor of its own: tasks run for some minutes, and one that is told to end needs half a minute for it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it draws what happened or fails, and prints the picture"
)]

#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/support/builder.rs"]
mod builder;
#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/support/lab.rs"]
mod lab;

use std::{collections::BTreeMap, fmt::Write as _};

use builder::{bash, dag};
use dags::{
    ids::{DagId, DispatchId, TenantId},
    time::{Span, Timestamp},
};
use engine::{
    command::{Command, Trigger},
    dispatch::{Dispatch, News, Outcome},
    quota::Limits,
    sharing::{Quota, Quotas, Weight},
};
use lab::{Lab, end};

/// What the executor runs at once.
const SLOTS: u32 = 24;
/// Seconds between two looks.
const STEP: i64 = 30;
/// Minutes that are shown.
const MINUTES: i64 = 120;

/// A tenant of the picture.
struct Team {
    name: &'static str,
    tenant: TenantId,
    guaranteed: i64,
    weight: u32,
    /// In which minutes it asks for how many tasks.
    asks: &'static [(i64, usize)],
}

fn teams() -> [Team; 3] {
    let team = |n: u128, name, guaranteed, weight, asks| Team {
        name,
        tenant: TenantId(uuid::Uuid::from_u128(n)),
        guaranteed,
        weight,
        asks,
    };
    [
        team(1, "vision", 8, 1, &[(2, 240)]),
        team(2, "speech", 8, 2, &[(25, 100), (95, 40)]),
        team(3, "search", 4, 1, &[(50, 60)]),
    ]
}

/// What was seen of a team at one look.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    used: i64,
    gave_way: usize,
}

/// Runs the story and says what was seen, by team and look.
fn run(teams: &[Team]) -> Vec<Vec<Seen>> {
    let mut lab = Lab::new();
    lab.executor("local", SLOTS);
    for team in teams {
        let quota = Quota { nominal: team.guaranteed, ..Quota::default() };
        let quotas = Quotas::from([("local".into(), [("members".into(), quota)].into())]);
        // Everybody has long queues here: what waits for five minutes isn't starving yet.
        let limits = Limits { hold_after_s: Some(3_600), ..Limits::default() };
        let weight = Weight::whole(team.weight);
        let command = Command::SetQuota { cohort: None, weight, quotas, limits };
        lab.request_as(team.tenant, command).unwrap();
    }
    let mut since: BTreeMap<DispatchId, Timestamp> = BTreeMap::new();
    let mut ending: BTreeMap<DispatchId, Timestamp> = BTreeMap::new();
    let mut seen = vec![Vec::new(); teams.len()];
    for look in 0..=MINUTES * 60 / STEP {
        for team in teams {
            let asks = team.asks.iter().filter(|(minute, _)| minute * 60 == look * STEP);
            asks.for_each(|(minute, tasks)| ask(&mut lab, team, *minute, *tasks));
        }
        let now = lab.now;
        let held: Vec<Dispatch> = lab.held.clone();
        for (index, dispatch) in held.iter().enumerate() {
            let began = *since.entry(dispatch.id).or_insert(now);
            // Between five and nine minutes.
            let minutes = 5 + (index as i64 + dispatch.task_id.as_str().len() as i64 * look) % 5;
            let over = !ending.contains_key(&dispatch.id) && now.since(began) >= Span::seconds(minutes * 60);
            let gave_way = ending.get(&dispatch.id).is_some_and(|at| *at <= now);
            if over || gave_way {
                let outcome = if gave_way { Outcome::Killed } else { Outcome::Success };
                lab.held.retain(|other| other.id != dispatch.id);
                lab.report(dispatch.id, 0, News::Ended(end(outcome)));
            }
        }
        let told: Vec<DispatchId> = std::mem::take(&mut lab.kills).into_iter().map(|kill| kill.id).collect();
        for (team, seen) in teams.iter().zip(&mut seen) {
            let own = |id: &&DispatchId| {
                lab.held.iter().any(|dispatch| dispatch.id == **id && dispatch.tenant == team.tenant)
            };
            let used = lab.held.iter().filter(|dispatch| dispatch.tenant == team.tenant).count() as i64;
            seen.push(Seen { used, gave_way: told.iter().filter(own).count() });
        }
        ending.extend(told.into_iter().map(|id| (id, now.after(Span::seconds(STEP)))));
        lab.advance(Span::seconds(STEP));
    }
    seen
}

/// A team asks for so many tasks.
fn ask(lab: &mut Lab, team: &Team, minute: i64, tasks: usize) {
    let name = format!("at{minute}");
    let tasks = (0..tasks).map(|n| bash(&format!("t{n}")));
    lab.activate_for(team.tenant, dag(&name).max_active_tasks(1_000).tasks(tasks).build(), false);
    let trigger = Trigger {
        dag_id: DagId::parse(&name).unwrap(),
        run_name: None,
        logical_date: None,
        run_after: None,
        conf: serde_json::Map::new(),
        note: None,
        chain_depth: 0,
    };
    lab.request_as(team.tenant, Command::Trigger(trigger)).unwrap();
}

const STYLE: &str = "text { font: 12px system-ui, sans-serif; fill: #333 } .head { font-weight: 600; font-size: 14px } \
.axis { stroke: #999 } .grid { stroke: #e3e3e3 } .line { stroke: #333; stroke-dasharray: 5 4; fill: none } \
.own { fill: #2b6cb0 } .lent { fill: #90b8de } .way { fill: #c2410c } .asks { stroke: #15803d; stroke-width: 1.5 } \
.small { font-size: 11px } .ask { fill: #15803d } .gave { fill: #c2410c } \
@media (prefers-color-scheme: dark) { text { fill: #ddd } .line { stroke: #ddd } .grid { stroke: #444 } \
.ask { fill: #4ade80 } .gave { fill: #fb923c } }";
const LEFT: f64 = 150.0;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;
const GAP: f64 = 46.0;

fn x(minute: f64) -> f64 {
    LEFT + minute / MINUTES as f64 * WIDTH
}

fn draw(teams: &[Team], seen: &[Vec<Seen>]) -> String {
    let all = GAP + teams.len() as f64 * (HEIGHT + GAP) + 24.0;
    let full = LEFT + WIDTH + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full} {all}\" role=\"img\" aria-label=\"How many of {SLOTS} \
         places three tenants use over two hours\">\n<style>{STYLE}</style>\n"
    );
    let legend = [("own", "guaranteed and used"), ("lent", "borrowed"), ("way", "tasks give way")];
    for (n, (class, text)) in legend.into_iter().enumerate() {
        let at = LEFT + n as f64 * 170.0;
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{at}\" y=\"8\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"18\">{text}</text>",
            at + 18.0
        );
    }
    for (n, (team, seen)) in teams.iter().zip(seen).enumerate() {
        panel(&mut svg, team, seen, GAP + n as f64 * (HEIGHT + GAP));
    }
    let bottom = all - 10.0;
    for minute in (0..=MINUTES).step_by(20) {
        let at = x(minute as f64);
        let _ = writeln!(svg, "<text x=\"{at}\" y=\"{bottom}\" text-anchor=\"middle\">{minute} min</text>");
    }
    svg + "</svg>\n"
}

/// One tenant: what it uses, the part that is guaranteed to it darker than what it borrows.
fn panel(svg: &mut String, team: &Team, seen: &[Seen], top: f64) {
    let bottom = top + HEIGHT;
    let y = |amount: i64| bottom - amount as f64 / f64::from(SLOTS) * HEIGHT;
    let Team { name, guaranteed, weight, asks, .. } = team;
    let _ = writeln!(
        svg,
        "<text class=\"head\" x=\"10\" y=\"{}\">{name}</text><text class=\"small\" x=\"10\" y=\"{}\">{guaranteed} guaranteed,</text>\
         <text class=\"small\" x=\"10\" y=\"{}\">weight {weight}</text>",
        top + 16.0,
        top + 34.0,
        top + 50.0
    );
    for amount in (0..=i64::from(SLOTS)).step_by(8) {
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {0}H{1}\"/><text class=\"small\" x=\"{2}\" y=\"{3}\" text-anchor=\"end\">{amount}</text>",
            y(amount),
            LEFT + WIDTH,
            LEFT - 6.0,
            y(amount) + 4.0
        );
    }
    for (class, limit) in [("lent", i64::MAX), ("own", *guaranteed)] {
        let mut path = format!("M{LEFT} {bottom}");
        for (look, it) in seen.iter().enumerate() {
            let minute = (look as i64 * STEP) as f64 / 60.0;
            let _ = write!(
                path,
                "V{:.1}H{:.1}",
                y(it.used.min(limit)),
                x(minute + STEP as f64 / 60.0).min(LEFT + WIDTH)
            );
        }
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}V{bottom}Z\"/>");
    }
    let _ = writeln!(
        svg,
        "<path class=\"line\" d=\"M{LEFT} {0}H{1}\"/><path class=\"axis\" d=\"M{LEFT} {bottom}H{1}\"/>",
        y(*guaranteed),
        LEFT + WIDTH
    );
    for (minute, tasks) in *asks {
        let at = x(*minute as f64);
        let _ = writeln!(
            svg,
            "<path class=\"asks\" d=\"M{at} {0}V{bottom}\"/><text class=\"small ask\" x=\"{1}\" y=\"{2}\">asks for {tasks} tasks</text>",
            top - 4.0,
            at + 4.0,
            top - 6.0
        );
    }
    for (at, sum) in given_way(seen) {
        let at = x(at);
        let _ = writeln!(
            svg,
            "<path class=\"way\" d=\"M{at} {0}l-5 -9h10z\"/><text class=\"small gave\" x=\"{at}\" y=\"{1}\" text-anchor=\"middle\">{sum}</text>",
            top + 8.0,
            top - 4.0
        );
    }
}

/// When tasks gave way, and how many; what lies within three minutes is one mark.
fn given_way(seen: &[Seen]) -> Vec<(f64, usize)> {
    let mut marks: Vec<(f64, usize)> = Vec::new();
    for (look, it) in seen.iter().enumerate().filter(|(_, it)| it.gave_way > 0) {
        let minute = (look as i64 * STEP) as f64 / 60.0;
        match marks.last_mut() {
            Some((last, sum)) if minute - *last <= 3.0 => *sum += it.gave_way,
            _ => marks.push((minute, it.gave_way)),
        }
    }
    marks
}

fn main() {
    let teams = teams();
    let seen = run(&teams);
    print!("{}", draw(&teams, &seen));
}
