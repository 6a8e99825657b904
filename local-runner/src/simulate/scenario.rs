//! The sizes of a simulated installation, and what is changed about its DAGs: what-if.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use dags::{
    diagnostic::Source,
    glob,
    ids::{DagId, ExecutorName, PoolName, TenantId},
    model::{Dag, When},
    suggest,
    timetable::{Bounds, Timetable},
};
use engine::{
    command::Command,
    quota::Limits,
    sharing::{Quotas, Weight},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{EXECUTOR, Request};
use crate::Error;

/// The slots of an executor that nothing is said about.
const SLOTS: u32 = 64;

/// What is changed on the command line.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The file of executors, pools, tenants and quotas.
    pub quotas: Option<PathBuf>,
    /// Slots by executor.
    pub executors: Vec<(String, u32)>,
    /// Slots by pool; -1 for no limit.
    pub pools: Vec<(String, i32)>,
    /// Cron expressions by DAG.
    pub crons: Vec<(String, String)>,
    /// The most active runs by DAG.
    pub max_active_runs: Vec<(String, u32)>,
}

/// `--quotas FILE`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    executors: BTreeMap<String, u32>,
    #[serde(default)]
    pools: BTreeMap<String, i32>,
    #[serde(default)]
    cohorts: BTreeMap<String, WrittenCohort>,
    #[serde(default)]
    tenants: BTreeMap<String, WrittenTenant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCohort {
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    weight: Weight,
    #[serde(default)]
    quotas: Quotas,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTenant {
    /// Patterns of its DAGs.
    dags: Vec<String>,
    #[serde(default)]
    cohort: Option<String>,
    #[serde(default)]
    weight: Weight,
    #[serde(default)]
    quotas: Option<Quotas>,
    #[serde(default)]
    limits: Option<Limits>,
}

/// Everything about a simulated installation but what its tasks do.
#[derive(Debug)]
pub(super) struct Scenario {
    /// All DAGs with their tenants, which may have changed since they were compiled.
    pub(super) dags: Vec<(TenantId, Arc<Dag>)>,
    /// All executors with their slots.
    pub(super) executors: Vec<(ExecutorName, u32)>,
    /// All pools with their slots, by tenant.
    pub(super) pools: BTreeMap<(TenantId, PoolName), i32>,
    /// The names of tenants, for people.
    pub(super) tenants: BTreeMap<TenantId, String>,
    quotas: Vec<(TenantId, Command)>,
}

impl Scenario {
    pub(super) fn new(dags: Vec<Dag>, request: &Request) -> Result<Self, Error> {
        let changes = &request.changes;
        let written = changes.quotas.as_deref().map(read).transpose()?.unwrap_or_default();
        let mut scenario = Self {
            dags: Vec::with_capacity(dags.len()),
            executors: Vec::new(),
            pools: BTreeMap::new(),
            tenants: BTreeMap::from([(TenantId::DEFAULT, "default".to_owned())]),
            quotas: Vec::new(),
        };
        check_patterns("--cron", changes.crons.iter().map(|(dag, _)| dag), &dags)?;
        check_patterns("--max-active-runs", changes.max_active_runs.iter().map(|(dag, _)| dag), &dags)?;
        for mut dag in dags {
            change(&mut dag, changes)?;
            // What was due before isn't of interest, and nothing is made up for.
            dag.start_date = Some(dag.start_date.unwrap_or(request.from).max(request.from));
            let owner = written.tenants.iter().find(|(_, tenant)| {
                tenant.dags.iter().any(|pattern| glob::fits(pattern, dag.dag_id.as_str()))
            });
            let tenant = owner.map_or(TenantId::DEFAULT, |(name, _)| tenant_of(name));
            if let Some((name, _)) = owner {
                scenario.tenants.insert(tenant, name.clone());
            }
            scenario.dags.push((tenant, Arc::new(dag)));
        }
        scenario.dags.sort_by(|(a, x), (b, y)| (a, &x.dag_id).cmp(&(b, &y.dag_id)));
        scenario.unique()?;
        scenario.size(&written, changes)?;
        scenario.set_quotas(&written);
        Ok(scenario)
    }

    fn unique(&self) -> Result<(), Error> {
        let mut seen: BTreeSet<(TenantId, &DagId)> = BTreeSet::new();
        for (tenant, dag) in &self.dags {
            if !seen.insert((*tenant, &dag.dag_id)) {
                return Err(Error::usage(
                    format!("two files define a DAG named `{}`", dag.dag_id),
                    "give one of them another name",
                ));
            }
        }
        Ok(())
    }

    fn size(&mut self, written: &Written, changes: &Changes) -> Result<(), Error> {
        let mut executors: BTreeMap<String, u32> = BTreeMap::from([(EXECUTOR.to_owned(), SLOTS)]);
        let mut pools: BTreeMap<String, i32> = BTreeMap::new();
        for (_, dag) in &self.dags {
            for task in &dag.tasks {
                if let Some(executor) = &task.executor {
                    executors.entry(executor.to_string()).or_insert(SLOTS);
                }
                if task.pool.as_str() != "default_pool" {
                    pools.entry(task.pool.to_string()).or_insert(-1);
                }
            }
        }
        let known = |what: &str, name: &str, all: Vec<&str>| {
            if all.contains(&name) {
                return Ok(());
            }
            let help = suggest::did_you_mean(name, all.iter().copied())
                .unwrap_or_else(|| format!("they name {}", suggest::list(all.iter().copied(), "and")));
            Err(Error::usage(format!("no task of these DAGs names the {what} `{name}`"), help))
        };
        for (name, slots) in written.executors.iter().chain(changes.executors.iter().map(|(n, s)| (n, s))) {
            known("executor", name, executors.keys().map(String::as_str).collect())?;
            executors.insert(name.clone(), *slots);
        }
        pools.insert("default_pool".to_owned(), 128);
        for (name, slots) in written.pools.iter().chain(changes.pools.iter().map(|(n, s)| (n, s))) {
            known("pool", name, pools.keys().map(String::as_str).collect())?;
            pools.insert(name.clone(), *slots);
        }
        for (name, slots) in executors {
            let parsed = ExecutorName::parse(&name);
            let name = parsed
                .map_err(|error| Error::usage(format!("the executor `{name}` {error}"), "mend its name"))?;
            self.executors.push((name, slots));
        }
        let tenants: Vec<TenantId> = self.tenants.keys().copied().collect();
        for (name, slots) in pools {
            let parsed = PoolName::parse(&name);
            let name = parsed
                .map_err(|error| Error::usage(format!("the pool `{name}` {error}"), "mend its name"))?;
            for tenant in &tenants {
                self.pools.insert((*tenant, name.clone()), slots);
            }
        }
        Ok(())
    }

    fn set_quotas(&mut self, written: &Written) {
        for (name, cohort) in &written.cohorts {
            let parent = match (&cohort.parent, name.as_str()) {
                (Some(parent), _) => Some(parent.as_str().into()),
                (None, "root") => None,
                (None, _) => Some("root".into()),
            };
            let (weight, quotas) = (cohort.weight, cohort.quotas.clone());
            let set = Command::SetCohort { name: name.as_str().into(), parent, weight, quotas };
            self.quotas.push((TenantId::DEFAULT, set));
        }
        for (name, tenant) in &written.tenants {
            if tenant.quotas.is_none() && tenant.limits.is_none() {
                continue;
            }
            let cohort = tenant.cohort.as_deref().map(Into::into);
            let quotas = tenant.quotas.clone().unwrap_or_default();
            let limits = tenant.limits.clone().unwrap_or_default();
            let set = Command::SetQuota { cohort, weight: tenant.weight, quotas, limits };
            self.quotas.push((tenant_of(name), set));
        }
    }

    /// What must be asked for before anything happens.
    pub(super) fn commands(&self) -> Vec<(TenantId, Command)> {
        let pools = self.pools.iter().map(|((tenant, name), slots)| {
            (*tenant, Command::SetPool { name: name.clone(), slots: *slots, include_deferred: false })
        });
        pools.chain(self.quotas.iter().cloned()).collect()
    }
}

/// A tenant's id by its name; the default tenant has its own.
fn tenant_of(name: &str) -> TenantId {
    if name == "default" {
        TenantId::DEFAULT
    } else {
        TenantId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }
}

fn check_patterns<'p>(
    option: &str,
    patterns: impl Iterator<Item = &'p String>,
    dags: &[Dag],
) -> Result<(), Error> {
    for pattern in patterns {
        if !dags.iter().any(|dag| glob::fits(pattern, dag.dag_id.as_str())) {
            let names = dags.iter().map(|dag| dag.dag_id.as_str());
            let help = suggest::did_you_mean(pattern, names)
                .unwrap_or_else(|| "name a DAG of the folder".to_owned());
            return Err(Error::usage(format!("`{option} {pattern}` fits no DAG"), help));
        }
    }
    Ok(())
}

fn change(dag: &mut Dag, changes: &Changes) -> Result<(), Error> {
    for (pattern, cron) in &changes.crons {
        if glob::fits(pattern, dag.dag_id.as_str()) {
            dag.schedule.when = When::Crons(vec![cron.clone()]);
            let bounds = Bounds { start_date: dag.start_date, end_date: dag.end_date };
            Timetable::new(&dag.schedule, bounds).map_err(|error| {
                Error::usage(format!("`--cron {pattern}={cron}`: {error}"), "write five fields")
            })?;
        }
    }
    for (pattern, limit) in &changes.max_active_runs {
        if glob::fits(pattern, dag.dag_id.as_str()) {
            dag.max_active_runs = *limit;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Written, Error> {
    let help = "docs/simulate.md shows such a file";
    let text = std::fs::read_to_string(path).map_err(Error::path("read", path))?;
    let source = Source::new(path.display().to_string(), text);
    let (documents, diagnostics) = dags::yaml::parse(&source);
    let wrong = |why: String| Error::usage(format!("{}: {why}", path.display()), help);
    if let Some(first) = diagnostics.first() {
        return Err(wrong(first.message.clone()));
    }
    let Some(document) = documents.first() else { return Err(wrong("it is empty".to_owned())) };
    serde_json::from_value(document.tree.to_json()).map_err(|error| wrong(error.to_string()))
}
