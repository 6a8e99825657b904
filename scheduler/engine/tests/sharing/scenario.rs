//! Scenarios as the vectors write them, and the loop of events that runs one.

use std::{collections::BTreeMap, sync::Arc};

use engine::sharing::{
    Blocker, Cap, CapKind, Cohort, Decision, Flavor, Group, Labels, Name, Part, Quota, Quotas, Tenant,
    Vector, Weight, Workload, decision::Short, spec::ANY_HOST,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A pool that a scenario can be run on. Workloads are named by their place in the order of submission.
pub(crate) trait Pool {
    /// A pool without work.
    fn build(setup: &Setup) -> Self;
    /// False if the queue is full.
    fn submit(&mut self, now: i64, id: u64, workload: &Workload) -> bool;
    /// Ends a pending or held workload; false if it is neither.
    fn end(&mut self, now: i64, id: u64) -> bool;
    /// The end of a victim is confirmed: it waits again, or is smaller by a member. False if it isn't being ended.
    fn confirm(&mut self, now: i64, id: u64, part: (Part, u32)) -> bool;
    /// Replaces quotas, and the weight if given.
    fn set_quota(&mut self, node: &Name, quotas: &Quotas, weight: Option<Weight>);
    /// Replaces the hosts of a flavor.
    fn set_capacity(&mut self, flavor: &Name, hosts: &BTreeMap<Name, Vector>);
    /// Suspends or resumes a tenant.
    fn suspend(&mut self, tenant: &Name, suspended: bool);
    /// Decides until nothing changes.
    fn settle(&mut self, now: i64) -> Vec<Decision<u64>>;
    /// Whether it is held now.
    fn is_held(&self, id: u64) -> bool;
    /// When a pending workload begins to starve, of those for which that is still to come.
    fn next_starving(&self, now: i64) -> Option<i64>;
    /// What is held, without zeros.
    fn usage(&self) -> BTreeMap<Name, BTreeMap<String, i64>>;
    /// The first blocker of every pending workload.
    fn waiting(&mut self, now: i64) -> Vec<(u64, Blocker<u64>)>;
    /// Panics if it contradicts itself.
    fn check(&self, _now: i64) {}
    /// Is lost, and built again from what is kept.
    fn crash(&mut self) {}
}

/// What a pool is built of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    pub(crate) flavors: Vec<Flavor>,
    pub(crate) cohorts: Vec<Cohort>,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) caps: Vec<Cap>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) hold_after: Option<i64>,
    #[serde(default)]
    pub(crate) end_delay: i64,
    #[serde(default)]
    pub(crate) until: Option<i64>,
    pub(crate) flavors: Vec<FlavorText>,
    pub(crate) cohorts: Vec<NodeText>,
    pub(crate) tenants: Vec<NodeText>,
    #[serde(default)]
    pub(crate) caps: Vec<CapText>,
    pub(crate) events: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct FlavorText {
    pub(crate) id: Name,
    pub(crate) cluster: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<Vector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hosts: Option<BTreeMap<Name, Vector>>,
}

pub(crate) type QuotaText = BTreeMap<Name, BTreeMap<Name, QuotaEntry>>;

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct QuotaEntry {
    #[serde(default)]
    pub(crate) nominal: i64,
    #[serde(default)]
    pub(crate) borrow: Option<i64>,
    #[serde(default)]
    pub(crate) lend: Option<i64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeText {
    pub(crate) id: Name,
    #[serde(default)]
    pub(crate) parent: Option<Name>,
    #[serde(default)]
    pub(crate) weight: Option<Value>,
    #[serde(default)]
    pub(crate) quota: QuotaText,
    #[serde(default)]
    pub(crate) max_queued: Option<u32>,
    #[serde(default)]
    pub(crate) suspended: bool,
    #[serde(default)]
    pub(crate) hold_after: HoldAfter,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum HoldAfter {
    #[default]
    Inherited,
    Own(Option<i64>),
}

impl<'de> Deserialize<'de> for HoldAfter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Own)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CapText {
    pub(crate) kind: CapKind,
    pub(crate) tenant: Name,
    #[serde(default)]
    pub(crate) key: Option<Name>,
    #[serde(default)]
    pub(crate) max: Option<i64>,
    #[serde(default)]
    pub(crate) resources: Vector,
}

#[derive(Debug, Deserialize)]
struct Submit {
    id: String,
    tenant: Name,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    request: Vector,
    #[serde(default)]
    flavors: Option<Vec<Name>>,
    #[serde(default)]
    members: Option<Vec<Members>>,
    #[serde(default)]
    duration: Option<i64>,
    #[serde(default)]
    user: Option<Name>,
    #[serde(default)]
    groups: Vec<Name>,
    #[serde(default)]
    dag: Option<Name>,
    #[serde(default)]
    run: Option<Name>,
    #[serde(default)]
    pool: Option<Name>,
    #[serde(default)]
    slots: Option<i64>,
    #[serde(default)]
    preemptible: Option<bool>,
    #[serde(default)]
    may_preempt: Option<bool>,
    #[serde(default)]
    span_clusters: bool,
}

#[derive(Debug, Deserialize)]
struct Members {
    #[serde(default)]
    name: Option<Name>,
    count: u32,
    #[serde(default)]
    max: Option<u32>,
    request: Vector,
    #[serde(default)]
    flavors: Option<Vec<Name>>,
}

fn workload(submit: &Submit) -> Workload {
    let groups = match &submit.members {
        Some(members) => members
            .iter()
            .enumerate()
            .map(|(index, group)| Group {
                name: group.name.clone().unwrap_or_else(|| index.to_string().into()),
                count: group.count,
                max: group.max.unwrap_or(group.count),
                request: group.request.clone(),
                flavors: group.flavors.clone(),
            })
            .collect(),
        None => vec![Group {
            name: "0".into(),
            count: 1,
            max: 1,
            request: submit.request.clone(),
            flavors: submit.flavors.clone(),
        }],
    };
    Workload {
        tenant: submit.tenant.clone(),
        priority: submit.priority,
        groups,
        span_clusters: submit.span_clusters,
        labels: Labels {
            run: submit.run.clone(),
            dag: submit.dag.clone(),
            pool: submit.pool.clone(),
            slots: submit.slots.unwrap_or(1),
            user: submit.user.clone(),
            groups: submit.groups.clone(),
            gate: 0,
            together: 0,
        },
        preemptible: submit.preemptible.unwrap_or(true),
        may_preempt: submit.may_preempt.unwrap_or(true),
    }
}

pub(crate) fn quotas(text: &QuotaText) -> Quotas {
    let entry = |entry: &QuotaEntry| Quota { nominal: entry.nominal, borrow: entry.borrow, lend: entry.lend };
    text.iter()
        .map(|(flavor, of)| (flavor.clone(), of.iter().map(|(name, e)| (name.clone(), entry(e))).collect()))
        .collect()
}

fn weight(value: Option<&Value>) -> Weight {
    match value {
        None | Some(Value::Null) => Weight::ONE,
        Some(Value::String(text)) => text.parse().unwrap(),
        Some(other) => other.to_string().parse().unwrap(),
    }
}

pub(crate) fn hosts(
    capacity: Option<&Vector>,
    hosts: Option<&BTreeMap<Name, Vector>>,
) -> BTreeMap<Name, Vector> {
    match (capacity, hosts) {
        (_, Some(hosts)) => hosts.clone(),
        (Some(capacity), None) => BTreeMap::from([(ANY_HOST.into(), capacity.clone())]),
        (None, None) => BTreeMap::new(),
    }
}

impl Scenario {
    pub(crate) fn setup(&self) -> Setup {
        let flavors = self.flavors.iter().map(|flavor| Flavor {
            id: flavor.id.clone(),
            cluster: flavor.cluster.clone(),
            hosts: hosts(flavor.capacity.as_ref(), flavor.hosts.as_ref()),
        });
        let cohorts = self.cohorts.iter().map(|node| Cohort {
            id: node.id.clone(),
            parent: node.parent.clone(),
            weight: weight(node.weight.as_ref()),
            quotas: quotas(&node.quota),
        });
        let tenants = self.tenants.iter().map(|node| Tenant {
            id: node.id.clone(),
            parent: node.parent.clone().unwrap(),
            weight: weight(node.weight.as_ref()),
            quotas: quotas(&node.quota),
            max_queued: node.max_queued,
            suspended: node.suspended,
            hold_after: match node.hold_after {
                HoldAfter::Inherited => self.hold_after,
                HoldAfter::Own(own) => own,
            },
        });
        let caps = self.caps.iter().map(|cap| Cap {
            kind: cap.kind,
            tenant: cap.tenant.clone(),
            key: cap.key.clone().unwrap_or_else(|| "".into()),
            max: cap.max,
            resources: cap.resources.clone(),
        });
        Setup {
            flavors: flavors.collect(),
            cohorts: cohorts.collect(),
            tenants: tenants.collect(),
            caps: caps.collect(),
        }
    }
}

/// What is scheduled to happen to a workload: a confirmed end, or its completion.
#[derive(Debug, Clone, Copy)]
enum Due {
    End { id: u64, part: (Part, u32), admission: u64 },
    Completion { id: u64, admission: u64 },
}

/// A scenario that runs.
pub(crate) struct Run<P> {
    pub(crate) pool: P,
    end_delay: i64,
    events: Vec<(i64, Value)>,
    next_event: usize,
    /// By workload: name, spec, duration.
    pub(crate) works: Vec<(String, Workload, Option<i64>)>,
    ids: BTreeMap<String, u64>,
    /// By workload: the number of its admission and when it completes.
    running: BTreeMap<u64, (u64, Option<i64>)>,
    /// By workload that runs: its units by number, as members that are placed.
    placed: BTreeMap<u64, BTreeMap<u32, Vec<engine::sharing::Place>>>,
    admissions: u64,
    due: Vec<(i64, Due)>,
    pub(crate) trace: Vec<Value>,
    pub(crate) now: i64,
    last: Option<i64>,
    /// Whether the last instant held an event from outside; a victim's confirmed end is none.
    pub(crate) outside: bool,
    /// Says whether the pool is lost now, asked twice in each instant.
    pub(crate) crashes: Box<dyn FnMut() -> bool>,
}

impl<P: Pool> Run<P> {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut events: Vec<(i64, Value)> =
            scenario.events.iter().map(|event| (event["t"].as_i64().unwrap(), event.clone())).collect();
        events.sort_by_key(|(t, _)| *t);
        Self {
            pool: P::build(&scenario.setup()),
            end_delay: scenario.end_delay,
            events,
            next_event: 0,
            works: Vec::new(),
            ids: BTreeMap::new(),
            running: BTreeMap::new(),
            placed: BTreeMap::new(),
            admissions: 0,
            due: Vec::new(),
            trace: Vec::new(),
            now: i64::MIN,
            last: None,
            outside: false,
            crashes: Box::new(|| false),
        }
    }

    fn next_instant(&self) -> Option<i64> {
        let event = self.events.get(self.next_event).map(|(t, _)| *t);
        let due = self.due.iter().map(|(t, _)| *t).min();
        let starving = self.last.and_then(|last| self.pool.next_starving(last));
        [event, due, starving].into_iter().flatten().min()
    }

    fn say(&mut self, what: &str, id: u64, more: Value) {
        let mut entry = json!({"t": self.now, "do": what, "id": self.works[id as usize].0});
        if let (Value::Object(entry), Value::Object(more)) = (&mut entry, more) {
            entry.extend(more);
        }
        self.trace.push(entry);
    }

    /// Goes on to the next instant; false if there is none.
    pub(crate) fn step(&mut self, until: Option<i64>) -> bool {
        let Some(t) = self.next_instant() else { return false };
        if until.is_some_and(|until| t > until) {
            return false;
        }
        self.now = t;
        self.outside = false;
        let (due, rest): (Vec<_>, Vec<_>) = self.due.drain(..).partition(|(at, _)| *at <= t);
        self.due = rest;
        for (_, due) in &due {
            if let Due::End { id, part, admission } = *due
                && self.running.get(&id).is_some_and(|(current, _)| *current == admission)
                && self.pool.confirm(t, id, part)
            {
                if part.0 == Part::Whole {
                    self.running.remove(&id);
                    self.placed.remove(&id);
                    self.say("ended", id, json!({}));
                } else {
                    self.placed.entry(id).or_default().remove(&part.1);
                    self.say("ended", id, json!({"part": "member"}));
                }
            }
        }
        for (_, due) in &due {
            if let Due::Completion { id, admission } = *due
                && self.running.get(&id).is_some_and(|(current, _)| *current == admission)
            {
                self.running.remove(&id);
                self.placed.remove(&id);
                assert!(self.pool.end(t, id), "what runs is held");
                self.say("finish", id, json!({}));
                self.outside = true;
            }
        }
        while let Some((at, event)) = self.events.get(self.next_event).cloned()
            && at == t
        {
            self.next_event += 1;
            self.outside = true;
            self.apply(&event);
        }
        self.pool.check(t);
        if (self.crashes)() {
            self.pool.crash();
        }
        let decisions = self.pool.settle(t);
        self.last = Some(t);
        for decision in &decisions {
            self.record(decision);
        }
        if (self.crashes)() {
            self.pool.crash();
        }
        self.pool.check(t);
        true
    }

    fn apply(&mut self, event: &Value) {
        let t = self.now;
        if let Some(submit) = event.get("submit") {
            let submit: Submit = serde_json::from_value(submit.clone()).unwrap();
            let id = self.works.len() as u64;
            self.ids.insert(submit.id.clone(), id);
            self.works.push((submit.id.clone(), workload(&submit), submit.duration));
            if !self.pool.submit(t, id, &self.works[id as usize].1) {
                self.say("reject", id, json!({}));
            }
        } else if let Some(name) = event.get("finish").and_then(Value::as_str) {
            if let Some(id) = self.ids.get(name).copied()
                && self.pool.is_held(id)
            {
                self.running.remove(&id);
                self.placed.remove(&id);
                self.pool.end(t, id);
                self.say("finish", id, json!({}));
            }
        } else if let Some(name) = event.get("cancel").and_then(Value::as_str) {
            if let Some(id) = self.ids.get(name).copied()
                && self.pool.end(t, id)
            {
                self.running.remove(&id);
                self.placed.remove(&id);
                self.say("finish", id, json!({}));
            }
        } else if let Some(change) = event.get("quota") {
            let text: QuotaText =
                serde_json::from_value(change.get("quota").cloned().unwrap_or_else(|| json!({}))).unwrap();
            let weight = change.get("weight").map(|value| weight(Some(value)));
            self.pool.set_quota(&name(&change["node"]), &quotas(&text), weight);
        } else if let Some(change) = event.get("capacity") {
            let parse =
                |key: &str| change.get(key).map(|value| serde_json::from_value(value.clone()).unwrap());
            let capacity: Option<Vector> = parse("capacity");
            let all = change.get("hosts").map(|value| serde_json::from_value(value.clone()).unwrap());
            self.pool.set_capacity(&name(&change["flavor"]), &hosts(capacity.as_ref(), all.as_ref()));
        } else if let Some(tenant) = event.get("suspend") {
            self.pool.suspend(&name(tenant), true);
        } else if let Some(tenant) = event.get("resume") {
            self.pool.suspend(&name(tenant), false);
        } else {
            panic!("unknown event {event}");
        }
    }

    fn record(&mut self, decision: &Decision<u64>) {
        let t = self.now;
        match decision {
            Decision::Admit { id, how, places } => {
                self.admissions += 1;
                let completes = self.works[*id as usize].2.map(|duration| t + duration);
                self.running.insert(*id, (self.admissions, completes));
                if let Some(at) = completes {
                    self.due.push((at, Due::Completion { id: *id, admission: self.admissions }));
                }
                let core: u32 = self.works[*id as usize].1.groups.iter().map(|group| group.count).sum();
                let units = self.placed.entry(*id).or_default();
                for (index, place) in places.iter().enumerate() {
                    let n = (index as u32 + 1).saturating_sub(core);
                    units.entry(n).or_default().push(place.clone());
                }
                let places = self.places(*id, places);
                self.say("admit", *id, json!({"how": how, "places": places}));
            }
            Decision::Reserve { id, how, places } => {
                let places = self.places(*id, places);
                self.say("reserve", *id, json!({"how": how, "places": places}));
            }
            Decision::Hold { id, places } => {
                let places = self.places(*id, places);
                self.say("hold", *id, json!({"places": places}));
            }
            Decision::Drop { id } => self.say("drop", *id, json!({})),
            Decision::Preempt { id, by, rule, part } => {
                let (admission, completes) = self.running[id];
                let ends = t + self.end_delay;
                if completes.is_none_or(|completes| completes > ends) {
                    self.due.push((ends, Due::End { id: *id, part: *part, admission }));
                }
                let by = self.works[*by as usize].0.clone();
                self.say("preempt", *id, json!({"by": by, "rule": rule, "part": part.0}));
            }
        }
    }

    fn places(&self, id: u64, places: &[engine::sharing::Place]) -> Value {
        let groups = &self.works[id as usize].1.groups;
        let place = |place: &engine::sharing::Place| {
            json!([groups[place.group as usize].name, place.flavor, place.host])
        };
        places.iter().map(place).collect()
    }

    /// Runs to the end and says trace, usage and waiting as the vectors do.
    pub(crate) fn finish(mut self, until: Option<i64>) -> Value {
        let mut steps = 0;
        while self.step(until) {
            steps += 1;
            assert!(steps < 10_000, "a scenario ends");
        }
        let now = self.last.unwrap_or(0);
        let waiting: Map<String, Value> = self
            .pool
            .waiting(now)
            .into_iter()
            .map(|(id, blocker)| (self.works[id as usize].0.clone(), self.blocker(&blocker)))
            .collect();
        json!({"trace": self.trace, "usage": self.pool.usage(), "waiting": waiting})
    }

    /// What tenants hold by what was admitted and has not ended, without zeros.
    pub(crate) fn admitted(&self) -> BTreeMap<Name, BTreeMap<String, i64>> {
        let mut usage: BTreeMap<Name, BTreeMap<String, i64>> = BTreeMap::new();
        for (id, units) in &self.placed {
            let work = &self.works[*id as usize].1;
            for place in units.values().flatten() {
                for (name, amount) in
                    work.groups[place.group as usize].request.iter().filter(|(_, x)| **x > 0)
                {
                    let of = usage.entry(work.tenant.clone()).or_default();
                    *of.entry(format!("{} {name}", place.flavor)).or_default() += amount;
                }
            }
        }
        usage
    }

    /// What is held by node.
    pub(crate) fn usage(&self) -> BTreeMap<Name, BTreeMap<String, i64>> {
        self.pool.usage()
    }

    /// The first blocker of each pending workload.
    pub(crate) fn blockers(&mut self) -> Vec<(u64, Blocker<u64>)> {
        self.pool.waiting(self.now)
    }

    fn blocker(&self, blocker: &Blocker<u64>) -> Value {
        let name = |id: &u64| self.works[*id as usize].0.clone();
        let short = |kind: &str, Short { node, flavor, resource, wanted, used, limit }: &Short| {
            json!({"kind": kind, "node": node, "flavor": flavor, "resource": resource, "wanted": wanted,
                "used": used, "limit": limit})
        };
        match blocker {
            Blocker::Suspended { tenant } => json!({"kind": "suspended", "tenant": tenant}),
            Blocker::NoFlavor => json!({"kind": "no_flavor"}),
            Blocker::ExceedsQuota(of) => short("exceeds_quota", of),
            Blocker::ExceedsCapacity { flavors } => json!({"kind": "exceeds_capacity", "flavors": flavors}),
            Blocker::PoolMissing { pool } => json!({"kind": "pool_missing", "pool": pool}),
            Blocker::Cap { never, kind, key, resource, used, wanted, limit } => {
                let mut value = json!({"kind": if *never { "exceeds_cap" } else { "cap" }, "cap": kind, "key": key,
                    "used": used, "wanted": wanted, "limit": limit});
                if let Some(resource) = resource {
                    value["resource"] = json!(resource);
                }
                value
            }
            Blocker::Victims { of } => {
                json!({"kind": "victims", "of": of.iter().map(name).collect::<Vec<_>>()})
            }
            Blocker::Quota(of) => short("quota", of),
            Blocker::Capacity { flavor, resource, wanted, free } => {
                json!({"kind": "capacity", "flavor": flavor, "resource": resource, "wanted": wanted, "free": free})
            }
            Blocker::Fragmented { flavors, members } => {
                json!({"kind": "fragmented", "flavors": flavors, "members": members})
            }
            Blocker::Reserved { by } => json!({"kind": "reserved", "by": name(by)}),
        }
    }
}

fn name(value: &Value) -> Name {
    Arc::from(value.as_str().unwrap())
}
