//! A DAG as the engine walks it: dense indices, edges in both directions, everything that can be computed beforehand.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DagVersion, GroupId, TaskId},
    model::{Dag, Map, MapSource, Runner, Task, TriggerRule, WeightRule},
};

/// The index of a task in its DAG version.
pub(crate) type TaskIdx = u32;

/// Lists of task indices, one per task, in one allocation.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    offsets: Vec<u32>,
    targets: Vec<TaskIdx>,
}

impl Edges {
    fn new(lists: &[Vec<TaskIdx>]) -> Self {
        let mut edges = Self { offsets: vec![0], targets: Vec::new() };
        for list in lists {
            edges.targets.extend_from_slice(list);
            edges.offsets.push(edges.targets.len() as u32);
        }
        edges
    }

    pub(crate) fn of(&self, task: TaskIdx) -> &[TaskIdx] {
        let task = task as usize;
        &self.targets[self.offsets[task] as usize..self.offsets[task + 1] as usize]
    }
}

/// What the engine does itself, without an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineTask {
    /// Nothing: it succeeds at once.
    Empty,
    /// A question is asked and the answer decides.
    Ask,
}

/// A task as the engine sees it.
#[derive(Debug)]
pub(crate) struct PlanTask {
    pub(crate) rule: TriggerRule,
    pub(crate) weight: i32,
    pub(crate) engine: Option<EngineTask>,
    pub(crate) teardown: bool,
    /// Its end counts for the run's state.
    pub(crate) leaf: bool,
    pub(crate) past: bool,
    /// The mapped group that it repeats with, as an index into [`Plan::scopes`].
    pub(crate) scope: Option<u32>,
    /// Tasks whose results say how often this one is repeated, through its own map or its groups'.
    pub(crate) sources: Vec<TaskIdx>,
    /// Whether it is repeated at all.
    pub(crate) mapped: bool,
    /// Whether some task is repeated over its result.
    pub(crate) is_source: bool,
    /// Branches and short circuits whose decision can skip it.
    pub(crate) deciders: Vec<TaskIdx>,
    /// Setups, direct or not, whose work it needs.
    pub(crate) setups: Vec<TaskIdx>,
}

/// A mapped group, inside another or not.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) parent: Option<u32>,
    pub(crate) map: Map,
}

/// A DAG version, ready to be run.
#[derive(Debug)]
pub struct Plan {
    pub(crate) dag: Arc<Dag>,
    pub(crate) version: DagVersion,
    pub(crate) tasks: Vec<PlanTask>,
    pub(crate) ups: Edges,
    pub(crate) downs: Edges,
    /// For a teardown: the tasks between its setups and it that aren't upstream of it directly.
    pub(crate) covers: Edges,
    /// The reverse of `covers`: the teardowns that wait for a task.
    pub(crate) covered_by: Edges,
    /// The reverse of [`PlanTask::setups`].
    pub(crate) serves: Edges,
    /// Tasks that repeat over a task's result.
    pub(crate) repeats: Edges,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) has_past: bool,
    index: BTreeMap<TaskId, TaskIdx>,
}

impl Plan {
    /// Prepares a validated DAG. A DAG that isn't valid (an unknown name, a cycle) yields a plan that leaves that edge out.
    pub fn new(version: DagVersion, dag: Arc<Dag>) -> Self {
        let index: BTreeMap<TaskId, TaskIdx> =
            dag.tasks.iter().enumerate().map(|(i, task)| (task.task_id.clone(), i as TaskIdx)).collect();
        let find = |id: &TaskId| index.get(id).copied();
        let n = dag.tasks.len();
        let mut ups: Vec<Vec<TaskIdx>> =
            dag.tasks.iter().map(|task| task.needs.iter().filter_map(find).collect()).collect();
        for list in &mut ups {
            list.sort_unstable();
            list.dedup();
        }
        let downs = reverse(&ups, n);
        let order = topological(&ups, &downs);
        let (scopes, scope_of_group) = scopes(&dag);
        let setups = setups(&dag, &ups, &downs, &order);
        let covers = covers(&dag, &index, &ups, &downs);
        let deciders = deciders(&dag, &downs);
        let ignored = |i: usize| !dag.tasks[i].teardown_of.is_empty() && !dag.tasks[i].on_failure_fail_run;
        let only_teardowns = dag.tasks.iter().all(|task| !task.teardown_of.is_empty());
        let weights = weights(&dag, &ups, &downs, &order);

        let mut tasks: Vec<PlanTask> = Vec::with_capacity(n);
        for (i, task) in dag.tasks.iter().enumerate() {
            let scope = task.group.as_ref().and_then(|group| scope_of_group.get(group).copied()).flatten();
            let mut sources: Vec<TaskIdx> = task.map.iter().flat_map(|map| map_sources(map, find)).collect();
            let mut at = scope;
            while let Some(s) = at {
                sources.extend(map_sources(&scopes[s as usize].map, find));
                at = scopes[s as usize].parent;
            }
            sources.sort_unstable();
            sources.dedup();
            let leaf = if only_teardowns {
                downs[i].is_empty()
            } else {
                !ignored(i) && downs[i].iter().all(|d| ignored(*d as usize))
            };
            tasks.push(PlanTask {
                rule: task.trigger_rule,
                weight: weights[i],
                engine: engine_task(task),
                teardown: !task.teardown_of.is_empty(),
                leaf,
                past: task.depends_on_past || task.wait_for_downstream,
                scope,
                mapped: task.map.is_some() || scope.is_some(),
                is_source: false,
                sources,
                deciders: deciders[i].clone(),
                setups: setups[i].clone(),
            });
        }
        let sources: Vec<Vec<TaskIdx>> = tasks.iter().map(|task| task.sources.clone()).collect();
        for source in sources.iter().flatten() {
            tasks[*source as usize].is_source = true;
        }
        let has_past = tasks.iter().any(|task| task.past);
        Self {
            version,
            tasks,
            ups: Edges::new(&ups),
            downs: Edges::new(&downs),
            covers: Edges::new(&covers),
            covered_by: Edges::new(&reverse(&covers, n)),
            serves: Edges::new(&reverse(&setups, n)),
            repeats: Edges::new(&reverse(&sources, n)),
            scopes,
            has_past,
            index,
            dag,
        }
    }

    /// The model that this was made of.
    pub fn dag(&self) -> &Arc<Dag> {
        &self.dag
    }

    pub(crate) fn find(&self, task: &TaskId) -> Option<TaskIdx> {
        self.index.get(task).copied()
    }

    pub(crate) fn model(&self, task: TaskIdx) -> &Task {
        &self.dag.tasks[task as usize]
    }

    /// Whether `a` and `b` repeat together, so that instance i of one belongs to instance i of the other.
    pub(crate) fn same_scope(&self, a: TaskIdx, b: TaskIdx) -> bool {
        let (a, b) = (&self.tasks[a as usize], &self.tasks[b as usize]);
        a.scope.is_some() && a.scope == b.scope
    }

    /// All tasks downstream (or upstream) of these, themselves included, in order of index.
    pub(crate) fn closure(&self, from: &[TaskIdx], edges: &Edges) -> Vec<TaskIdx> {
        let mut seen = vec![false; self.tasks.len()];
        let mut stack = from.to_vec();
        while let Some(task) = stack.pop() {
            if !std::mem::replace(&mut seen[task as usize], true) {
                stack.extend_from_slice(edges.of(task));
            }
        }
        (0..self.tasks.len() as TaskIdx).filter(|task| seen[*task as usize]).collect()
    }
}

fn engine_task(task: &Task) -> Option<EngineTask> {
    match (task.runner, task.operator.as_str()) {
        (Runner::Executor, _) => None,
        (Runner::Engine, "empty") => Some(EngineTask::Empty),
        (Runner::Engine, _) => Some(EngineTask::Ask),
    }
}

fn map_sources(map: &Map, find: impl Fn(&TaskId) -> Option<TaskIdx>) -> Vec<TaskIdx> {
    map.over
        .iter()
        .filter_map(|(_, source)| match source {
            MapSource::Literal(_) => None,
            MapSource::Output(task) => find(task),
        })
        .collect()
}

fn reverse(lists: &[Vec<TaskIdx>], n: usize) -> Vec<Vec<TaskIdx>> {
    let mut reversed = vec![Vec::new(); n];
    for (i, list) in lists.iter().enumerate() {
        for target in list {
            reversed[*target as usize].push(i as TaskIdx);
        }
    }
    reversed
}

/// Tasks so that every task comes after those it needs.
fn topological(ups: &[Vec<TaskIdx>], downs: &[Vec<TaskIdx>]) -> Vec<TaskIdx> {
    let mut missing: Vec<usize> = ups.iter().map(Vec::len).collect();
    let mut order: Vec<TaskIdx> = (0..ups.len() as TaskIdx).filter(|i| missing[*i as usize] == 0).collect();
    let mut next = 0;
    while next < order.len() {
        for down in &downs[order[next] as usize] {
            missing[*down as usize] -= 1;
            if missing[*down as usize] == 0 {
                order.push(*down);
            }
        }
        next += 1;
    }
    order
}

type ScopeOfGroup = BTreeMap<GroupId, Option<u32>>;

/// The mapped groups, parents first, and for each group the innermost mapped one around it.
fn scopes(dag: &Dag) -> (Vec<Scope>, ScopeOfGroup) {
    let groups: BTreeMap<&GroupId, &dags::model::Group> =
        dag.groups.iter().map(|g| (&g.group_id, g)).collect();
    let mut scopes = Vec::new();
    let mut of_group = ScopeOfGroup::new();
    for group in &dag.groups {
        let mut chain = vec![group];
        while let Some(parent) = chain
            .last()
            .and_then(|g| g.parent.as_ref())
            .and_then(|id| groups.get(id))
            .filter(|_| chain.len() <= groups.len())
        {
            chain.push(parent);
        }
        let mut parent = None;
        for group in chain.into_iter().rev() {
            if let Some(known) = of_group.get(&group.group_id) {
                parent = *known;
                continue;
            }
            if let Some(map) = &group.map {
                scopes.push(Scope { parent, map: map.clone() });
                parent = Some(scopes.len() as u32 - 1);
            }
            of_group.insert(group.group_id.clone(), parent);
        }
    }
    (scopes, of_group)
}

/// For each task the setups whose work it needs: every setup upstream of it that no teardown between them ends.
fn setups(dag: &Dag, ups: &[Vec<TaskIdx>], downs: &[Vec<TaskIdx>], order: &[TaskIdx]) -> Vec<Vec<TaskIdx>> {
    let mut lists = vec![Vec::new(); dag.tasks.len()];
    for (s, setup) in dag.tasks.iter().enumerate().filter(|(_, task)| task.setup) {
        let ends: Vec<bool> =
            dag.tasks.iter().map(|task| task.teardown_of.contains(&setup.task_id)).collect();
        let has_teardown = ends.iter().any(|end| *end);
        let mut reached = vec![false; dag.tasks.len()];
        reached[s] = true;
        for task in order {
            let i = *task as usize;
            if i != s && !ends[i] {
                reached[i] = ups[i].iter().any(|up| reached[*up as usize]);
            }
        }
        // What comes after the setup but leads to none of its teardowns is bound to it by direct edges only.
        let mut leads = ends.clone();
        for task in order.iter().rev() {
            let i = *task as usize;
            leads[i] = leads[i] || downs[i].iter().any(|down| leads[*down as usize]);
        }
        for (i, list) in lists.iter_mut().enumerate() {
            let direct = ups[i].contains(&(s as TaskIdx));
            // A teardown looks at its own setups only, which are upstream of it directly.
            if i != s && (direct || reached[i] && has_teardown && leads[i]) {
                list.push(s as TaskIdx);
            }
        }
    }
    lists
}

/// For each teardown the tasks between its setups and it, without those that it needs directly.
fn covers(
    dag: &Dag,
    index: &BTreeMap<TaskId, TaskIdx>,
    ups: &[Vec<TaskIdx>],
    downs: &[Vec<TaskIdx>],
) -> Vec<Vec<TaskIdx>> {
    let walk = |from: TaskIdx, edges: &[Vec<TaskIdx>]| {
        let mut seen = vec![false; dag.tasks.len()];
        let mut stack = vec![from];
        while let Some(task) = stack.pop() {
            if !std::mem::replace(&mut seen[task as usize], true) {
                stack.extend_from_slice(&edges[task as usize]);
            }
        }
        seen
    };
    let mut lists = vec![Vec::new(); dag.tasks.len()];
    for (t, teardown) in dag.tasks.iter().enumerate().filter(|(_, task)| !task.teardown_of.is_empty()) {
        let above = walk(t as TaskIdx, ups);
        let mut between = vec![false; dag.tasks.len()];
        for setup in teardown.teardown_of.iter().filter_map(|id| index.get(id)) {
            for (i, below) in walk(*setup, downs).into_iter().enumerate() {
                between[i] |= below && above[i] && i != *setup as usize;
            }
        }
        lists[t] = (0..dag.tasks.len() as TaskIdx)
            .filter(|i| between[*i as usize] && *i as usize != t && !ups[t].contains(i))
            .collect();
    }
    lists
}

/// For each task the branches and short circuits whose decision can skip it.
/// Whether a task's decision can skip everything downstream of it.
pub(crate) fn stops_all(task: &Task) -> bool {
    matches!(task.operator.as_str(), "short_circuit" | "approval")
}

fn deciders(dag: &Dag, downs: &[Vec<TaskIdx>]) -> Vec<Vec<TaskIdx>> {
    let mut lists = vec![Vec::new(); dag.tasks.len()];
    for (i, task) in dag.tasks.iter().enumerate().filter(|(_, task)| task.runner == Runner::Engine) {
        if stops_all(task) {
            let mut seen = vec![false; dag.tasks.len()];
            let mut stack = downs[i].clone();
            while let Some(down) = stack.pop() {
                if !std::mem::replace(&mut seen[down as usize], true) {
                    lists[down as usize].push(i as TaskIdx);
                    stack.extend_from_slice(&downs[down as usize]);
                }
            }
        } else if task.operator == "branch" {
            for down in &downs[i] {
                lists[*down as usize].push(i as TaskIdx);
            }
        }
    }
    lists
}

/// Effective priorities, as `semantics.md` section 12: own plus that of all distinct tasks downstream or upstream, within i32.
fn weights(dag: &Dag, ups: &[Vec<TaskIdx>], downs: &[Vec<TaskIdx>], order: &[TaskIdx]) -> Vec<i32> {
    let n = dag.tasks.len();
    let plain = dag.tasks.iter().all(|task| task.weight_rule == WeightRule::Absolute);
    let mut weights: Vec<i64> = dag.tasks.iter().map(|task| i64::from(task.priority)).collect();
    if !plain {
        let own = weights.clone();
        let words = n.div_ceil(64);
        for (rule, edges, forward) in
            [(WeightRule::Downstream, downs, false), (WeightRule::Upstream, ups, true)]
        {
            if !dag.tasks.iter().any(|task| task.weight_rule == rule) {
                continue;
            }
            // A set of distinct relatives per task, as bits; chunked so that 10,000 tasks need no 12 MB at once.
            for chunk in (0..words).step_by(64) {
                let width = (words - chunk).min(64);
                let mut reach = vec![0_u64; n * width];
                for position in 0..n {
                    let task = order.get(if forward { position } else { n - 1 - position });
                    let Some(task) = task.map(|task| *task as usize) else { continue };
                    for next in &edges[task] {
                        let next = *next as usize;
                        for w in 0..width {
                            reach[task * width + w] |= reach[next * width + w];
                        }
                        if (chunk..chunk + width).contains(&(next / 64)) {
                            reach[task * width + next / 64 - chunk] |= 1 << (next % 64);
                        }
                    }
                    if dag.tasks[task].weight_rule == rule {
                        for w in 0..width {
                            let mut bits = reach[task * width + w];
                            while bits != 0 {
                                weights[task] += own[(chunk + w) * 64 + bits.trailing_zeros() as usize];
                                bits &= bits - 1;
                            }
                        }
                    }
                }
            }
        }
    }
    weights.into_iter().map(|w| w.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32).collect()
}
