//! Delivers alerts: takes what is due from the table, sends it by the tenant's route, notes how it went.
//!
//! At least once: whoever dies between sending and noting leaves the alert to be taken again. Alerts carry their identity,
//! so the other side can tell a repeat.
//!
//! A tenant may send so many a minute. What exceeds that is held back until the minute is over; then one notice for each route
//! says how many alerts it stands for.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use dags::{
    ids::{DagId, TenantId},
    time::{Span, Timestamp},
};
use engine::command::{Command, Trigger};
use futures::StreamExt as _;
use migrations::{
    Db, ShardScope, TenantScope,
    seal::Sealer,
    store::{
        self,
        alert::{Alert, Delivery, HELD, HeldBack},
        inbox::Progress,
    },
};
use plugins::{
    notify::{self, Notice, Sent},
    policy::Policy,
};
use tokio::sync::Notify;

use crate::{clock, desk::chain, facts};

/// Alerts that are taken at once.
const TAKEN_AT_ONCE: u32 = 32;
/// Alerts that are sent at once.
const SENT_AT_ONCE: usize = 8;
/// How long an alert stays with whoever took it. Longer than sending a batch of them may take.
const TAKEN_FOR: Span = Span::seconds(300);
/// The longest wait before the table is looked at again.
const LOOK_AGAIN: Span = Span::seconds(30);
/// The wait before the second try; doubled from try to try.
const BACKOFF_MIN: Span = Span::seconds(5);
/// The longest wait between two tries.
const BACKOFF_MAX: Span = Span::seconds(3_600);
/// After how long an alert is given up.
const GIVE_UP: Span = Span::seconds(24 * 3_600);
/// Notices that a tenant may send within [`MINUTE`].
const PER_MINUTE: u32 = 60;
/// The time that [`PER_MINUTE`] is counted over.
const MINUTE: Span = Span::seconds(60);
/// How long the owner of the shard may take to start a run.
const START_MAX: Span = Span::seconds(10);

/// Who delivers the alerts of a shard.
#[derive(Debug, Clone)]
pub struct Deliverer {
    /// The database.
    pub db: Db,
    /// The shard, whose owner we are.
    pub scope: ShardScope,
    /// What opens the connections of routes.
    pub sealer: Sealer,
    /// Which addresses may be reached.
    pub policy: Policy,
    /// Rings when an alert was stored.
    pub alerted: Arc<Notify>,
    /// Rung when a run is to be started.
    pub wake: Arc<Notify>,
}

impl Deliverer {
    /// Delivers until it is dropped.
    pub async fn run(&self) -> Infallible {
        let mut rates = Rates::default();
        loop {
            let nap = match self.deliver_due(&mut rates).await {
                Ok(nap) => nap,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "failed to look for alerts; trying again");
                    BACKOFF_MIN
                }
            };
            tokio::select! {
                () = self.alerted.notified() => {}
                () = clock::sleep(nap) => {}
            }
        }
    }

    /// Delivers what is due, and says for how long there is nothing to do.
    async fn deliver_due(&self, rates: &mut Rates) -> Result<Span, migrations::Error> {
        loop {
            let due = store::alert::take_due(&self.db, self.scope, TAKEN_FOR, TAKEN_AT_ONCE).await?;
            if due.is_empty() {
                let next = store::alert::next_due(&self.db, self.scope).await?;
                let now = self.db.now().await?;
                let nap = next.map_or(LOOK_AGAIN, |next| next.since(now).min(LOOK_AGAIN));
                return Ok(nap.max(Span::millis(100)));
            }
            let now = clock::now();
            let (mut single, mut told) = (Vec::with_capacity(due.len()), BTreeSet::new());
            for alert in due {
                // One notice stands for all of its route that are held back, also for those that come later in the list.
                if alert.is_held() && told.contains(&(alert.row.tenant, alert.row.route.clone())) {
                    continue;
                }
                match rates.take(alert.row.tenant, now) {
                    Ok(()) if alert.is_held() => {
                        told.insert((alert.row.tenant, alert.row.route.clone()));
                        self.tell_left_out(&alert).await?;
                    }
                    Ok(()) => single.push(alert),
                    Err(wait) => {
                        let held = Delivery::Again { error: HELD.to_owned(), after: wait };
                        store::alert::note(&self.db, &alert, &held).await?;
                    }
                }
            }
            futures::stream::iter(single)
                .for_each_concurrent(SENT_AT_ONCE, |alert| async move { self.deliver_and_note(&alert).await })
                .await;
        }
    }

    /// One notice for all alerts of the route that are held back.
    async fn tell_left_out(&self, first: &Alert) -> Result<(), migrations::Error> {
        let (scope, route) = (TenantScope::new(first.row.tenant), &*first.row.route);
        let held = store::alert::held_back(&self.db, scope, route).await?;
        let notice = left_out(first, &held);
        let delivery = self.deliver(first, &notice).await;
        store::alert::note_held_back(&self.db, scope, route, &delivery).await.map(drop)
    }

    async fn deliver_and_note(&self, alert: &Alert) {
        let delivery = self.deliver(alert, &notice(alert)).await;
        if let Err(error) = store::alert::note(&self.db, alert, &delivery).await {
            tracing::warn!(
                alert.id = %alert.row.id, error = %chain(&error),
                "failed to note how an alert was delivered; it is sent again"
            );
        }
    }

    async fn deliver(&self, alert: &Alert, notice: &Notice) -> Delivery {
        let Err(error) = self.try_deliver(alert, notice).await else { return Delivery::Sent };
        let row = &alert.row;
        tracing::warn!(
            tenant.id = %row.tenant, alert.id = %row.id, route = &*row.route, tries = alert.tries, error,
            "an alert wasn't delivered"
        );
        if clock::now() >= row.at.after(GIVE_UP) {
            return Delivery::GivenUp { error };
        }
        Delivery::Again { error, after: backoff(alert.tries) }
    }

    /// The error is a sentence for the tenant.
    async fn try_deliver(&self, alert: &Alert, notice: &Notice) -> Result<(), String> {
        let row = &alert.row;
        let scope = TenantScope::new(row.tenant);
        let opened = store::connection::open(&self.db, scope, &self.sealer, &row.route)
            .await
            .map_err(|error| format!("the route can't be looked up: {}", chain(&error)))?;
        let (address, secrets) = opened.ok_or_else(|| no_route(&row.route))?;
        let route = notify::read(&row.route, facts::connection(address, secrets))
            .map_err(|error| error.to_string())?;
        match route.send(notice, &self.policy).await.map_err(|error| error.to_string())? {
            Sent::Delivered => Ok(()),
            Sent::Start(dag_id) => self.start(alert, notice, dag_id).await,
        }
    }

    /// Asks for the run of a `notify_dag`. Its name is the alert's, so that there is one however often it is asked for.
    async fn start(&self, alert: &Alert, notice: &Notice, dag_id: DagId) -> Result<(), String> {
        let row = &alert.row;
        if row.chain_depth >= engine::CHAIN_MAX {
            return Err(format!(
                "the alert is about the last of {} runs that started each other: does the DAG of the route alert itself?",
                engine::CHAIN_MAX
            ));
        }
        let name = format!("alert__{}", row.id);
        let run_name = name.parse().map_err(|_| "the alert's identity is no name of a run".to_owned())?;
        let command = Command::Trigger(Trigger {
            dag_id,
            run_name: Some(run_name),
            logical_date: None,
            run_after: None,
            conf: notice.fields(),
            note: Some(notice.headline()),
            chain_depth: row.chain_depth + 1,
        });
        let scope = TenantScope::new(row.tenant);
        let actor = format!("route/{}", row.route);
        let ticket = store::inbox::insert(&self.db, scope, &actor, &command, None)
            .await
            .map_err(|error| format!("the run can't be asked for: {}", chain(&error)))?;
        self.wake.notify_one();
        let until = clock::now().after(START_MAX);
        while clock::now() < until {
            let progress = store::inbox::progress(&self.db, scope, ticket.id)
                .await
                .map_err(|error| format!("it isn't known whether the run was made: {}", chain(&error)))?;
            match progress {
                Progress::Taken { outcome: Ok(_), .. } => return Ok(()),
                Progress::Taken { outcome: Err(refusal), .. } if refusal.code == "run.exists" => {
                    return Ok(());
                }
                Progress::Taken { outcome: Err(refusal), .. } => return Err(refusal.message),
                Progress::Waiting => clock::sleep(Span::millis(100)).await,
                Progress::Gone => break,
            }
        }
        Err("the scheduler didn't take the request for the run in time".to_owned())
    }
}

fn no_route(route: &str) -> String {
    let types = dags::suggest::list(notify::TYPES.iter().copied(), "or");
    format!(
        "there is no route `{route}`: set a connection of that name, of type {types}, with \
         `updraft connections set {route}`"
    )
}

/// What is to be said about an alert.
fn notice(alert: &Alert) -> Notice {
    let row = &alert.row;
    Notice {
        id: row.id.to_string(),
        route: row.route.to_string(),
        what: row.what.as_str().to_owned(),
        dag_id: row.dag_id.to_string(),
        run_id: row.run_name.to_string(),
        task_id: row.task.as_ref().map(|task| task.0.to_string()),
        map_index: row.task.as_ref().map(|task| task.1),
        try_number: row.task.as_ref().map(|task| task.2),
        reason: row.reason.as_deref().map(str::to_owned),
        at: row.at,
    }
}

/// What is to be said about alerts that nobody heard of by themselves.
fn left_out(first: &Alert, held: &HeldBack) -> Notice {
    let kinds: Vec<String> = held.kinds.iter().map(|(kind, n)| format!("{n} {}", kind.as_str())).collect();
    let reason = format!(
        "{} alerts for this route were left out, since more than {PER_MINUTE} of the tenant were due within a minute: {}, from \
         {} to {}. `updraft alerts list` shows them",
        held.total(),
        kinds.join(", "),
        held.first,
        held.last,
    );
    Notice { what: "left_out".to_owned(), reason: Some(reason), ..notice(first) }
}

/// What each tenant has sent in the present minute. Counted anew after a restart.
#[derive(Debug, Default)]
struct Rates {
    sent: BTreeMap<TenantId, (Timestamp, u32)>,
}

impl Rates {
    /// Takes a turn of the tenant, or says how long to wait for the next one.
    fn take(&mut self, tenant: TenantId, now: Timestamp) -> Result<(), Span> {
        // A clock that was set back begins a minute anew.
        self.sent.retain(|_, (since, _)| *since <= now && now.since(*since) < MINUTE);
        let (since, sent) = self.sent.entry(tenant).or_insert((now, 0));
        if *sent >= PER_MINUTE {
            return Err(since.after(MINUTE).since(now));
        }
        *sent += 1;
        Ok(())
    }
}

/// The wait after that many tries.
fn backoff(tries: u32) -> Span {
    let doublings = tries.saturating_sub(1).min(20);
    Span(BACKOFF_MIN.0 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_takes_sixty_turns_a_minute() {
        let (mut rates, other) = (Rates::default(), migrations::store::audit::PLATFORM.tenant());
        let at = |seconds| Timestamp(0).after(Span::seconds(seconds));
        for _ in 0..60 {
            assert_eq!(rates.take(TenantId::DEFAULT, at(10)), Ok(()));
        }
        assert_eq!(rates.take(TenantId::DEFAULT, at(30)), Err(Span::seconds(40)));
        assert_eq!(rates.take(other, at(30)), Ok(()), "each has its own");
        assert_eq!(rates.take(TenantId::DEFAULT, at(70)), Ok(()));
        for _ in 0..59 {
            assert_eq!(rates.take(TenantId::DEFAULT, at(80)), Ok(()));
        }
        assert_eq!(rates.take(TenantId::DEFAULT, at(80)), Err(Span::seconds(50)));
        assert_eq!(rates.take(TenantId::DEFAULT, at(20)), Ok(()), "the clock was set back");
    }

    #[test]
    fn tries_are_further_and_further_apart() {
        let waits: Vec<i64> = (1..=12).map(|tries| backoff(tries).0 / 1_000_000).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
    }
}
