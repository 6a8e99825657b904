//! Warm children by tenant.
//!
//! A request takes an idle child of its tenant or starts one; a child goes back only after a whole answer. So a dropped
//! future, a crash or a timeout costs one child and nothing else. Two limits hold: children per tenant at work, and
//! children in all; when the second is reached, the child that idled longest makes room.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dags::ids::TenantId;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    Compiled, Ran,
    child::{Child, Failure},
    error::{Error, Fault},
    modules::Modules,
    wire::{Body, Field, InForce, Landlock, Language, Limits, Rendered, Reply},
};

/// How much confinement scripts need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// System calls filtered and files closed by the kernel, else scripts are off.
    #[default]
    Required,
    /// System calls filtered; for installations with one tenant.
    BestEffort,
    /// Whatever the machine has; for an author's own scripts on an author's own machine.
    Development,
}

impl Policy {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best-effort",
            Self::Development => "development",
        }
    }

    fn check(self, in_force: &InForce) -> Result<(), Error> {
        let (enough, help) = match self {
            Self::Required => (
                in_force.seccomp && in_force.landlock != Landlock::None,
                "an installation with one tenant may set `script.sandbox = best-effort`",
            ),
            Self::BestEffort => (in_force.seccomp, "use a kernel with seccomp; YAML files work without"),
            Self::Development => (true, ""),
        };
        if enough {
            Ok(())
        } else {
            Err(Error::Sandbox { policy: self.as_str(), in_force: Box::new(in_force.clone()), help })
        }
    }
}

/// A child that has used so much processor time is replaced, in microseconds.
const CHILD_CPU_US_MAX: u64 = 600_000_000;

/// How the pool works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program; see [`super::locate`].
    pub program: PathBuf,
    /// How much confinement scripts need.
    pub policy: Policy,
    /// What a script may use.
    pub limits: Limits,
    /// Children of one tenant at work at once; 2 by default.
    pub children_per_tenant: usize,
    /// Children in all, at work and idle; 16 by default, each up to the memory limit.
    pub children_max: usize,
    /// How long a child idles before it is ended; 60 s by default.
    pub idle: Duration,
    /// Wall-clock time of a DAG file or task; 10 s by default.
    pub script_timeout: Duration,
    /// Wall-clock time of expressions and templates: 250 ms of work, and slack for a busy machine; 1.5 s by default.
    pub template_timeout: Duration,
    /// How long a request waits for a child; 30 s by default.
    pub wait_timeout: Duration,
    /// A child that has answered so often is replaced; 10,000 by default.
    pub requests_max: u64,
}

impl Options {
    /// Defaults for that program.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            policy: Policy::default(),
            limits: Limits::default(),
            children_per_tenant: 2,
            children_max: 16,
            idle: Duration::from_mins(1),
            script_timeout: Duration::from_secs(10),
            template_timeout: Duration::from_millis(1500),
            wait_timeout: Duration::from_secs(30),
            requests_max: 10_000,
        }
    }
}

/// A pool of script hosts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ScriptPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    language: Language,
    all: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<TenantId, Tenant>,
    in_force: Option<InForce>,
    /// Requests that wait for a place; while there are any, no child idles.
    waiting: usize,
}

/// A request that waits for a place, until it is dropped.
struct Waiting<'a>(&'a ScriptPool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

#[derive(Debug)]
struct Tenant {
    working: Arc<Semaphore>,
    idle: Vec<Warm>,
}

/// A child with its place in the pool.
#[derive(Debug)]
struct Warm {
    child: Child,
    requests: u64,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl ScriptPool {
    /// A pool without children; the first request starts one.
    pub fn new(options: Options, language: Language) -> Self {
        let all = Arc::new(Semaphore::new(options.children_max.max(1)));
        Self { inner: Arc::new(Inner { options, language, all, state: Mutex::default() }) }
    }

    /// Compiles a Rhai DAG file to document trees (`dags::tree::Node`).
    pub async fn compile<T: DeserializeOwned>(
        &self,
        tenant: TenantId,
        path: &str,
        text: &str,
        modules: &Modules,
    ) -> Result<Compiled<T>, Error> {
        let most = self.inner.options.script_timeout;
        match self.request(tenant, &Body::Compile { path, text }, modules, most).await? {
            Reply::Trees { trees, printed } => {
                let read = |tree: &serde_json::value::RawValue| {
                    serde_json::from_str(tree.get()).map_err(|e| Error::Protocol(format!("not a tree: {e}")))
                };
                Ok(Compiled {
                    trees: trees.iter().map(|tree| read(tree)).collect::<Result<_, _>>()?,
                    printed,
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a Rhai script with the context's fields as its constants.
    pub async fn run(&self, tenant: TenantId, path: &str, text: &str, context: &Value) -> Result<Ran, Error> {
        let most = self.inner.options.script_timeout;
        match self.request(tenant, &Body::Run { path, text, context }, &Modules::None, most).await? {
            Reply::Value { value, printed } => Ok(Ran { value, printed }),
            other => Err(unexpected(&other)),
        }
    }

    /// Evaluates one expression, with or without braces, to a value of its own type.
    pub async fn eval(&self, tenant: TenantId, expression: &str, context: &Value) -> Result<Value, Error> {
        let most = self.inner.options.template_timeout;
        match self.request(tenant, &Body::Eval { expression, context }, &Modules::None, most).await? {
            Reply::Value { value, .. } => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    /// Renders fields, each to its value or the fault in it, in their order.
    pub async fn render(
        &self,
        tenant: TenantId,
        fields: &[Field],
        context: &Value,
    ) -> Result<Vec<Result<Value, Box<Fault>>>, Error> {
        let most = self.inner.options.template_timeout;
        match self.request(tenant, &Body::Render { fields, context }, &Modules::None, most).await? {
            Reply::Values(values) if values.len() == fields.len() => Ok(values
                .into_iter()
                .map(|value| match value {
                    Rendered::Value(value) => Ok(value),
                    Rendered::Fault(fault) => Err(Box::new(fault)),
                })
                .collect()),
            other => Err(unexpected(&other)),
        }
    }

    /// What confines the children, starting one if none has been yet: for readiness and the log at start.
    pub async fn probe(&self, tenant: TenantId) -> Result<InForce, Error> {
        self.eval(tenant, "true", &Value::Object(serde_json::Map::new())).await?;
        self.state().in_force.clone().ok_or_else(|| Error::Protocol("no child has greeted".to_owned()))
    }

    /// Ends children that idle too long. Every answer does that too; the owner calls it from a timer.
    pub fn reap_idle(&self) {
        let now = Instant::now();
        let idle = self.inner.options.idle;
        let mut ended = Vec::new();
        let mut state = self.state();
        for tenant in state.tenants.values_mut() {
            let (stay, end) = std::mem::take(&mut tenant.idle)
                .into_iter()
                .partition(|warm| now.saturating_duration_since(warm.since) < idle);
            tenant.idle = stay;
            ended.extend::<Vec<Warm>>(end);
        }
        let most = self.inner.options.children_per_tenant.max(1);
        state
            .tenants
            .retain(|_, tenant| !tenant.idle.is_empty() || tenant.working.available_permits() < most);
        drop(state);
        drop(ended);
    }

    /// How many children idle, for metrics and tests.
    pub fn idle_children(&self) -> usize {
        self.state().tenants.values().map(|tenant| tenant.idle.len()).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request(
        &self,
        tenant: TenantId,
        body: &Body<'_>,
        modules: &Modules,
        most: Duration,
    ) -> Result<Reply, Error> {
        let wait = self.inner.options.wait_timeout;
        let working = self.working(tenant);
        let _turn = timeout(wait, working.acquire_owned())
            .await
            .map_err(|_| Error::Busy(wait))?
            .map_err(|_| Error::Protocol("the pool is closed".to_owned()))?;
        let (mut warm, reused) = match self.idle(tenant) {
            Some(warm) => (warm, true),
            None => (self.start().await?, false),
        };
        let mut answer = warm.child.ask(body, modules, most).await;
        if reused && matches!(answer, Err(Failure::Died(Error::Died(_)))) {
            // Whatever ended an idle child from outside says nothing about this request.
            drop(warm);
            warm = self.start().await?;
            answer = warm.child.ask(body, modules, most).await;
        }
        match answer {
            Ok(reply) => {
                self.keep(tenant, warm);
                match reply {
                    Reply::Fault(fault) => Err(fault.into()),
                    reply => Ok(reply),
                }
            }
            Err(Failure::Before(error)) => {
                self.keep(tenant, warm);
                Err(error)
            }
            Err(Failure::Died(error)) => Err(error),
        }
    }

    fn working(&self, tenant: TenantId) -> Arc<Semaphore> {
        let most = self.inner.options.children_per_tenant.max(1);
        let mut state = self.state();
        let entry = state.tenants.entry(tenant);
        entry
            .or_insert_with(|| Tenant { working: Arc::new(Semaphore::new(most)), idle: Vec::new() })
            .working
            .clone()
    }

    fn idle(&self, tenant: TenantId) -> Option<Warm> {
        self.state().tenants.get_mut(&tenant)?.idle.pop()
    }

    fn keep(&self, tenant: TenantId, mut warm: Warm) {
        warm.requests += 1;
        warm.since = Instant::now();
        if warm.requests < self.inner.options.requests_max && warm.child.cpu_us < CHILD_CPU_US_MAX {
            let mut state = self.state();
            if state.waiting == 0
                && let Some(entry) = state.tenants.get_mut(&tenant)
            {
                entry.idle.push(warm);
            }
        }
        self.reap_idle();
    }

    async fn start(&self) -> Result<Warm, Error> {
        let options = &self.inner.options;
        let all = self.inner.all.clone();
        let place = if let Ok(place) = all.clone().try_acquire_owned() {
            place
        } else {
            let _waiting = self.make_room();
            timeout(options.wait_timeout, all.acquire_owned())
                .await
                .map_err(|_| Error::Busy(options.wait_timeout))?
                .map_err(|_| Error::Protocol("the pool is closed".to_owned()))?
        };
        // A script that a child stops by itself costs no child and has a line in its error, so it gets to be first.
        let time_ms = u64::try_from((options.script_timeout * 4 / 5).as_millis()).unwrap_or(u64::MAX);
        let limits = Limits { time_ms: options.limits.time_ms.or(Some(time_ms)), ..options.limits.clone() };
        let child = Child::start(&options.program, &limits, &self.inner.language).await?;
        options.policy.check(&child.in_force)?;
        self.announce(&child.in_force);
        Ok(Warm { child, requests: 0, since: Instant::now(), _place: place })
    }

    /// Ends the child that idled longest, whosever it is; if none idles, the next one to finish ends.
    fn make_room(&self) -> Waiting<'_> {
        let mut state = self.state();
        state.waiting += 1;
        let oldest = state
            .tenants
            .values_mut()
            .filter(|tenant| !tenant.idle.is_empty())
            .min_by_key(|tenant| tenant.idle[0].since);
        let ended = oldest.map(|tenant| tenant.idle.remove(0));
        drop(state);
        drop(ended);
        Waiting(self)
    }

    /// Says once, and whenever it changes, what confines scripts.
    fn announce(&self, in_force: &InForce) {
        let mut state = self.state();
        if state.in_force.as_ref() == Some(in_force) {
            return;
        }
        state.in_force = Some(in_force.clone());
        drop(state);
        let policy = self.inner.options.policy.as_str();
        if in_force.missing.is_empty() {
            tracing::info!(sandbox.policy = policy, "scripts run in their full sandbox");
        } else {
            let missing = in_force.missing.join("; ");
            tracing::warn!(sandbox.policy = policy, %missing, "scripts run with less than their full sandbox");
        }
    }
}

fn unexpected(reply: &Reply) -> Error {
    Error::Protocol(format!("an answer of the kind `{}`", reply.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_ask_for_what_they_say() {
        let with = |seccomp, landlock| InForce { seccomp, landlock, limits: Vec::new(), missing: Vec::new() };
        let table = [
            (with(true, Landlock::Full), [true, true, true]),
            (with(true, Landlock::Partial), [true, true, true]),
            (with(true, Landlock::None), [false, true, true]),
            (with(false, Landlock::Full), [false, false, true]),
            (with(false, Landlock::None), [false, false, true]),
        ];
        for (in_force, enough) in table {
            let found = [Policy::Required, Policy::BestEffort, Policy::Development]
                .map(|policy| policy.check(&in_force).is_ok());
            assert_eq!(found, enough, "{in_force:?}");
        }
    }
}
