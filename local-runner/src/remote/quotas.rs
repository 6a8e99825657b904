//! `updraft quotas`.

use std::process::ExitCode;

use api::v1::quotas::{NodeKind, QuotaBody, QuotaView};
use clap::{Args, Subcommand, ValueEnum};
use engine::{
    quota::{GroupLimit, Limits, figures::AmountFigures},
    sharing::{Quota, Quotas, Weight},
};
use serde::Serialize;

use super::{
    Error, Service, Session,
    screen::{Cell, or_dash, toned},
};
use crate::terminal::Tone;

/// The arguments of `updraft quotas`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft quotas set cohort research --quota local:members=10\n  \
                  updraft quotas set tenant vision --cohort research --quota local:members=4,borrow=6\n  updraft quotas list")]
pub struct QuotasArgs {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: QuotasCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum QuotasCommand {
    /// List what tenants and cohorts are guaranteed, and how much of it they use
    #[command(after_help = "Example:\n  updraft quotas list")]
    List,
    /// Show one quota
    #[command(after_help = "Example:\n  updraft quotas show tenant vision")]
    Show {
        /// Whose it is
        kind: KindArg,
        /// The name
        name: String,
    },
    /// Set a quota in place of the one that is there; a cohort is made by that
    #[command(
        after_help = "`cpu` is in thousandths of a CPU, `memory` in bytes or with KiB, MiB, GiB or TiB; `members` are \
                      processes, one for each task but gangs.\n\nExample:\n  updraft quotas set tenant vision --cohort research \
                      --weight 2 --quota local:members=4,borrow=6,lend=0 --quota hosts:gpu/a100=2"
    )]
    Set {
        /// Whose it is
        kind: KindArg,
        /// The name; `root` is the cohort above all
        name: String,
        /// The cohort that it belongs to; the one above all if absent
        #[arg(long, value_name = "NAME")]
        cohort: Option<String>,
        /// How much of what is borrowed is its own, beside its siblings
        #[arg(long, default_value = "1", value_name = "NUMBER")]
        weight: Weight,
        /// What is guaranteed, how much more may be used, and how much of it others may use; may be repeated
        #[arg(long = "quota", value_name = "EXECUTOR:RESOURCE=AMOUNT[,borrow=AMOUNT][,lend=AMOUNT]")]
        quotas: Vec<Entry>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Take a quota away; a cohort only if nobody belongs to it
    #[command(after_help = "Example:\n  updraft quotas delete tenant vision")]
    Delete {
        /// Whose it is
        kind: KindArg,
        /// The name
        name: String,
    },
}

/// What a tenant may have at once, whatever its quotas.
#[derive(Debug, Default, Args)]
pub(super) struct LimitArgs {
    /// The most tasks of the tenant that are handed over at once
    #[arg(long, value_name = "NUMBER")]
    tasks: Option<u32>,
    /// The same of runs that one user asked for, for each user
    #[arg(long, value_name = "NUMBER")]
    tasks_per_user: Option<u32>,
    /// The same for one user, in place of the limit for each; may be repeated
    #[arg(long = "user", value_name = "NAME=NUMBER")]
    users: Vec<String>,
    /// The same for several users together; may be repeated
    #[arg(long = "group", value_name = "NAME=NUMBER:USER[,USER]")]
    groups: Vec<String>,
    /// The most tasks that wait in the queue: while as many do, no run is made
    #[arg(long, value_name = "NUMBER")]
    queued: Option<u32>,
    /// Seconds after which what becomes free is kept for a task that waits, or `never`; 300 if absent
    #[arg(long, value_name = "SECONDS")]
    hold_after: Option<String>,
}

impl LimitArgs {
    fn read(self) -> Result<Limits, Error> {
        let Self { tasks, tasks_per_user, users, groups, queued, hold_after } = self;
        let wrong = |given: &str, form: &str| Error::usage(format!("`{given}` isn't understood"), form);
        let mut limits = Limits { tasks, tasks_per_user, queued, ..Limits::default() };
        for given in users {
            let parts = given.split_once('=').and_then(|(name, most)| Some((name, most.parse().ok()?)));
            let (name, most) = parts.ok_or_else(|| wrong(&given, "write `--user NAME=NUMBER`"))?;
            if limits.users.insert(name.into(), most).is_some() {
                return Err(Error::usage(format!("`--user {name}` is given twice"), "name each user once"));
            }
        }
        for given in groups {
            let parts = given.split_once('=').and_then(|(name, rest)| {
                let (most, users) = rest.split_once(':')?;
                let users = users.split(',').filter(|user| !user.is_empty()).map(Into::into).collect();
                Some((name, GroupLimit { tasks: most.parse().ok()?, users }))
            });
            let (name, group) =
                parts.ok_or_else(|| wrong(&given, "write `--group NAME=NUMBER:USER,USER`"))?;
            if limits.groups.insert(name.into(), group).is_some() {
                return Err(Error::usage(format!("`--group {name}` is given twice"), "name each group once"));
            }
        }
        match hold_after.as_deref() {
            None => {}
            Some("never") => limits.no_hold = true,
            Some(text) => {
                let seconds =
                    text.parse().map_err(|_| wrong(text, "write `--hold-after SECONDS` or `never`"))?;
                limits.hold_after_s = Some(seconds);
            }
        }
        Ok(limits)
    }
}

/// Limits as people read them, a line each.
fn lines(limits: &Limits) -> Vec<(String, Cell)> {
    let at_once = |what: String, most: u32| (what, Cell::from(format!("at most {most} tasks at once")));
    let mut lines: Vec<(String, Cell)> = Vec::new();
    lines.extend(limits.tasks.map(|most| at_once("all".to_owned(), most)));
    lines.extend(limits.tasks_per_user.map(|most| at_once("each user".to_owned(), most)));
    lines.extend(limits.users.iter().map(|(name, most)| at_once(format!("user {name}"), *most)));
    lines.extend(limits.groups.iter().map(|(name, group)| {
        let users: Vec<&str> = group.users.iter().map(|user| &**user).collect();
        at_once(format!("group {name} ({})", users.join(", ")), group.tasks)
    }));
    lines.extend(limits.queued.map(|most| ("queue".to_owned(), format!("at most {most} tasks wait").into())));
    let kept = limits.hold_after_s.map(|seconds| format!("after {seconds} s"));
    let kept = kept.or_else(|| limits.no_hold.then(|| "never".to_owned()));
    lines.extend(kept.map(|kept| ("room is kept".to_owned(), kept.into())));
    lines
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KindArg {
    Tenant,
    Cohort,
}

impl From<KindArg> for NodeKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Tenant => Self::Tenant,
            KindArg::Cohort => Self::Cohort,
        }
    }
}

/// A quota of one executor and resource, as it is written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    executor: String,
    resource: String,
    quota: Quota,
}

const WRITE: &str = "write EXECUTOR:RESOURCE=AMOUNT[,borrow=AMOUNT][,lend=AMOUNT]";

impl std::str::FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || WRITE.to_owned();
        let (what, amounts) = text.split_once('=').ok_or_else(wrong)?;
        let (executor, resource) = what.split_once(':').ok_or_else(wrong)?;
        if executor.is_empty() || resource.is_empty() {
            return Err(wrong());
        }
        let mut parts = amounts.split(',');
        let nominal = amount(parts.next().unwrap_or_default())?;
        let mut quota = Quota { nominal, borrow: None, lend: None };
        for part in parts {
            let (name, text) = part.split_once('=').ok_or_else(wrong)?;
            let place = match name {
                "borrow" => &mut quota.borrow,
                "lend" => &mut quota.lend,
                other => return Err(format!("`{other}` is neither `borrow` nor `lend`; {WRITE}")),
            };
            if place.replace(amount(text)?).is_some() {
                return Err(format!("`{name}` is given twice"));
            }
        }
        Ok(Self { executor: executor.to_owned(), resource: resource.to_owned(), quota })
    }
}

/// A whole number, also of KiB, MiB, GiB or TiB.
fn amount(text: &str) -> Result<i64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(unit, size)| text.strip_suffix(unit).map(|number| (number, size)))
        .unwrap_or((text, 1_i64));
    let number: Option<i64> = number.parse().ok().filter(|number| *number >= 0);
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is no amount: write a whole number such as 4, or 16GiB"))
}

/// All entries as one document.
fn quotas(entries: Vec<Entry>) -> Result<Quotas, Error> {
    let mut quotas = Quotas::new();
    for Entry { executor, resource, quota } in entries {
        let of = quotas.entry(executor.as_str().into()).or_default();
        if of.insert(resource.as_str().into(), quota).is_some() {
            return Err(Error::usage(
                format!("`--quota {executor}:{resource}` is given twice"),
                "name each executor and resource once",
            ));
        }
    }
    Ok(quotas)
}

/// A row of the list: one executor and resource of somebody, or somebody without any.
#[derive(Serialize)]
struct Row<'a> {
    quota: &'a QuotaView,
    amount: Option<&'a AmountFigures>,
}

fn rows(views: &[QuotaView]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for quota in views {
        rows.extend(quota.amounts.iter().map(|amount| Row { quota, amount: Some(amount) }));
        if quota.amounts.is_empty() {
            rows.push(Row { quota, amount: None });
        }
    }
    rows
}

fn limit(amount: Option<i64>) -> Cell {
    amount.map_or_else(|| toned("no limit", Tone::Dim), Cell::from)
}

fn table(session: &mut Session<'_>, views: &[QuotaView]) -> Result<(), Error> {
    let rows = rows(views);
    let heads = [
        "QUOTA", "COHORT", "WEIGHT", "EXECUTOR", "RESOURCE", "NOMINAL", "BORROW", "LEND", "USED", "BORROWED",
        "FREE", "WAITING",
    ];
    session.screen.list(&rows, rows.len() as u64, heads, |Row { quota, amount }, _| {
        let own = amount.and_then(|amount| amount.quota);
        let number = |of: fn(&AmountFigures) -> i64| or_dash(amount.map(of));
        let borrowed = match amount {
            Some(amount) if amount.borrowed > 0 => toned(amount.borrowed, Tone::Warn),
            amount => or_dash(amount.map(|amount| amount.borrowed)),
        };
        [
            format!("{} {}", quota.kind.as_str(), quota.name).into(),
            or_dash(quota.cohort.as_ref()),
            quota.weight.into(),
            or_dash(amount.map(|amount| &amount.executor)),
            or_dash(amount.map(|amount| &amount.resource)),
            or_dash(own.map(|own| own.nominal)),
            own.map_or_else(|| or_dash(None::<i64>), |own| limit(own.borrow)),
            own.map_or_else(|| or_dash(None::<i64>), |own| limit(own.lend)),
            number(|amount| amount.used),
            borrowed,
            number(|amount| amount.available),
            quota.waiting.into(),
        ]
    })
}

pub(super) async fn run(session: &mut Session<'_>, command: QuotasCommand) -> Result<ExitCode, Error> {
    match command {
        QuotasCommand::List => {
            let found = session.client.quotas().await?.items;
            if session.screen.json {
                session.screen.document(&found)?;
            } else if found.is_empty() {
                session.screen.line("no quota is set: tasks are admitted in turn, tenant by tenant")?;
            } else {
                table(session, &found)?;
            }
        }
        QuotasCommand::Show { kind, name } => {
            let found = session.client.quota(kind.into(), &name).await?;
            if session.screen.json {
                session.screen.document(&found)?;
            } else {
                let share = found.share_per_mille.map(|part| format!("{}.{}%", part / 10, part % 10));
                let limits = lines(&found.limits);
                let mut facts = vec![
                    (found.kind.as_str(), found.name.clone().into()),
                    ("cohort", or_dash(found.cohort.as_ref())),
                    ("weight", found.weight.into()),
                    ("borrows", share.map_or_else(|| toned("goes last", Tone::Warn), Cell::from)),
                    ("waiting", found.waiting.into()),
                ];
                facts.extend(limits.iter().map(|(name, cell)| (name.as_str(), cell.clone())));
                session.screen.facts(&facts)?;
                table(session, std::slice::from_ref(&found))?;
            }
        }
        QuotasCommand::Set { kind, name, cohort, weight, quotas: entries, limits } => {
            let body = QuotaBody { cohort, weight, quotas: quotas(entries)?, limits: limits.read()? };
            session.client.set_quota(kind.into(), &name, &body).await?;
            session.screen.line(&format!("the quota of {} {name} is set", NodeKind::from(kind).as_str()))?;
        }
        QuotasCommand::Delete { kind, name } => {
            session.client.delete_quota(kind.into(), &name).await?;
            session
                .screen
                .line(&format!("{} {name} has no quota any more", NodeKind::from(kind).as_str()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        let entry: Entry = "hosts:gpu/a100=2,lend=0,borrow=3".parse().unwrap();
        let quota = Quota { nominal: 2, borrow: Some(3), lend: Some(0) };
        assert_eq!(entry, Entry { executor: "hosts".into(), resource: "gpu/a100".into(), quota });
        assert_eq!("w:memory=2GiB".parse::<Entry>().unwrap().quota.nominal, 2 << 30);
        for wrong in [
            "members=4",
            "local:members",
            "local:members=-1",
            "local:members=1,max=2",
            ":x=1",
            "a:b=1,lend=1,lend=2",
            "a:b=9999999999TiB",
        ] {
            assert!(wrong.parse::<Entry>().is_err(), "{wrong}");
        }
        let twice = vec!["a:b=1".parse().unwrap(), "a:b=2".parse().unwrap()];
        assert!(quotas(twice).unwrap_err().is_usage());
    }

    #[test]
    fn limits_are_read() {
        let given = LimitArgs {
            tasks: Some(9),
            users: vec!["ann=3".to_owned()],
            groups: vec!["interns=2:bob,cy".to_owned()],
            hold_after: Some("never".to_owned()),
            ..LimitArgs::default()
        };
        let limits = given.read().unwrap();
        let group = GroupLimit { tasks: 2, users: ["bob".into(), "cy".into()].into() };
        let groups = [("interns".into(), group)].into();
        let users = [("ann".into(), 3)].into();
        assert_eq!(limits, Limits { tasks: Some(9), users, groups, no_hold: true, ..Limits::default() });
        for (user, group, after) in [("ann", "a=1:b", "1"), ("ann=1", "a=1", "1"), ("ann=1", "a=1:b", "soon")]
        {
            let given = LimitArgs {
                users: vec![user.to_owned()],
                groups: vec![group.to_owned()],
                hold_after: Some(after.to_owned()),
                ..LimitArgs::default()
            };
            assert!(given.read().unwrap_err().is_usage(), "{user} {group} {after}");
        }
    }
}
