//! Watches the pods of an executor and reports what becomes of them.
//!
//! The watch is list-and-watch with recovery by resource version; whatever it misses, the next listing has. Time alone changes
//! things as well, so every pod that hasn't ended is looked at again each second.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use engine::{
    dispatch::{End, News, Outcome, Report},
    execution::{Ticket, Waits},
};
use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::runtime::{
    WatchStreamExt as _,
    watcher::{self, Event, watcher},
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Key, Shared, cluster, judge,
    known::{Known, Said},
    shape,
};
use crate::{clock, contract::Error, fleet, seldom::Seldom};

/// How often pods are looked at that nobody says anything about.
const LOOK: Duration = Duration::from_secs(1);
/// How long one watch lasts before it is begun anew, in seconds.
const WATCH_S: u32 = 290;
/// How many ends are found out at once.
const FINISHING_MAX: usize = 32;
/// The wait before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// The grace of a pod that is given up: its containers don't run.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// How often the wish to end a pod is repeated that doesn't end.
const KILL_AGAIN: u32 = 30;

/// What came of a task.
enum Done {
    /// How a member ended is known, or it has to be tried again.
    Finished(Key, Option<End>),
    /// Whatever it was, the pod is looked at again.
    Again(Key),
    Nothing,
}

enum Turn {
    Stop,
    Watch(Box<Result<Event<Pod>, watcher::Error>>),
    Done(Done),
    Room,
    Changed,
    Look,
}

/// Keeps an executor in step with its cluster.
pub struct Service {
    shared: Arc<Shared>,
    reports: mpsc::Sender<Report>,
    outbox: VecDeque<Report>,
    tasks: JoinSet<Done>,
    /// Ends that wait until there is room to find them out.
    waiting: VecDeque<Key>,
    finishing: usize,
    /// Listings so far.
    listing: u64,
    looks: u32,
    said: Seldom,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, reports: mpsc::Sender<Report>) -> Self {
        Self {
            shared,
            reports,
            outbox: VecDeque::new(),
            tasks: JoinSet::new(),
            waiting: VecDeque::new(),
            finishing: 0,
            listing: 0,
            looks: 0,
            said: Seldom::default(),
        }
    }

    /// Runs until it is cancelled or nobody receives the reports any more. The pods go on.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut events = self.watch();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let shared = self.shared.clone();
            let turn = tokio::select! {
                () = cancel.cancelled() => Turn::Stop,
                Some(event) = events.next() => Turn::Watch(Box::new(event)),
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => match done {
                    Ok(done) => Turn::Done(done),
                    Err(error) => {
                        tracing::error!(%error, "a task of an executor broke off");
                        Turn::Done(Done::Nothing)
                    }
                },
                room = self.reports.reserve(), if !self.outbox.is_empty() => match room {
                    Ok(room) => {
                        if let Some(report) = self.outbox.pop_front() {
                            room.send(report);
                        }
                        Turn::Room
                    }
                    Err(_) => Turn::Stop,
                },
                () = shared.changed.notified() => Turn::Changed,
                _ = look.tick() => Turn::Look,
            };
            match turn {
                Turn::Stop => return,
                Turn::Watch(event) => match *event {
                    Ok(event) => self.hear(event),
                    Err(error) => self.deaf(&error),
                },
                Turn::Done(done) => self.done(done),
                Turn::Room => {}
                Turn::Changed => self.look_at_all(),
                Turn::Look => {
                    self.looks = self.looks.wrapping_add(1);
                    self.look_at_all();
                    if self.looks.is_multiple_of(KILL_AGAIN) {
                        self.insist_on_all();
                    }
                }
            }
            self.begin_finishing();
        }
    }

    fn watch(&self) -> BoxStream<'static, Result<Event<Pod>, watcher::Error>> {
        let config =
            watcher::Config::default().labels(&shape::selector(&self.shared.options)).timeout(WATCH_S);
        watcher(self.shared.cluster.pods.clone(), config).default_backoff().boxed()
    }

    fn deaf(&mut self, error: &watcher::Error) {
        let (name, why) = (&self.shared.options.name, cluster::chain(error));
        if self.said.is_news(&why) {
            tracing::warn!(executor = %name, error = why, "the cluster's pods can't be watched; trying again");
        }
        let mut state = self.shared.state();
        if state.listed.is_none() {
            state.listed = Some(Err(format!("its pods can't be listed: {why}")));
        }
    }

    fn hear(&mut self, event: Event<Pod>) {
        if self.said.over() {
            tracing::info!(executor = %self.shared.options.name, "the cluster's pods are watched again");
        }
        match event {
            Event::Init => self.listing += 1,
            Event::InitApply(pod) => {
                if let Some(key) = self.note(pod) {
                    self.complete(key);
                    self.look_at(key);
                }
            }
            Event::Apply(pod) => {
                if let Some(key) = self.note(pod) {
                    self.look_at(key);
                }
            }
            Event::InitDone => {
                let gone: Vec<Key> = {
                    let mut state = self.shared.state();
                    state.listed = Some(Ok(()));
                    let old = |known: &Known| known.seen < self.listing;
                    state.pods.iter().filter(|(_, known)| old(known)).map(|(key, _)| *key).collect()
                };
                for key in gone {
                    self.gone(key);
                }
            }
            Event::Delete(pod) => {
                if let Some(key) = shape::key(&pod) {
                    self.gone(key);
                }
            }
        }
    }

    /// Notes a pod as it is; none if it isn't one of ours or its end is confirmed.
    fn note(&self, pod: Pod) -> Option<Key> {
        let key = shape::key(&pod)?;
        let mut state = self.shared.state();
        if state.confirmed.contains(&key) {
            return None;
        }
        let seen = self.listing;
        state.pods.entry(key).or_insert_with(|| Known::found(&pod)).update(pod, seen);
        Some(key)
    }

    /// A service that died between making a pod and making its secret left the pod without it.
    fn complete(&mut self, key: Key) {
        let Some(pod) = self.pod(key).filter(|pod| judge::host(pod).is_none() && shape::end(pod).is_none())
        else {
            return;
        };
        // What a pod may ask is for the member that it is named after, whatever is written on it.
        let own = |ticket: &Ticket| ticket.dispatch == key.0 && pod.metadata.deletion_timestamp.is_none();
        let Some(ticket) = shape::ticket_of(&pod).filter(own) else { return };
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let orders = shape::orders(&shared.options, &pod, ticket, key.1);
            let made = match orders {
                Ok(orders) => shared.cluster.create_secret(&orders).await,
                Err(error) => Err(error),
            };
            if let Err(error) = made {
                tracing::warn!(dispatch = %key.0, member = key.1, %error, "a pod's secret can't be made");
            }
            Done::Nothing
        });
    }

    fn pod(&self, key: Key) -> Option<Arc<Pod>> {
        self.shared.state().pods.get(&key).map(|known| known.pod.clone())
    }

    fn look_at_all(&mut self) {
        let open: Vec<Key> = {
            let state = self.shared.state();
            state.pods.iter().filter(|(_, known)| known.end().is_none()).map(|(key, _)| *key).collect()
        };
        for key in open {
            self.look_at(key);
        }
    }

    /// Does what a pod's state asks for.
    fn look_at(&mut self, key: Key) {
        let now = now();
        let patience = self.shared.options.patience;
        let shared = self.shared.clone();
        let mut state = shared.state();
        let Some(known) = state.pods.get_mut(&key) else { return };
        if known.finishing || known.end().is_some() {
            return;
        }
        self.outbox.extend(known.start(key));
        let waits = judge::waits(&known.pod);
        if known.said != Said::Last(waits.clone()) && !known.saying {
            known.saying = true;
            let shared = self.shared.clone();
            self.tasks.spawn(say(shared, key, waits));
        }
        if judge::is_over(&known.pod)
            || judge::is_forsaken(&known.pod, now, &patience).is_some()
            || is_tombstone(&known.pod)
            || known.gone
        {
            known.finishing = true;
            self.waiting.push_back(key);
        } else if let Some(why) = judge::stuck(&known.pod, now, &patience).filter(|_| !known.given_up) {
            known.given_up = true;
            let pod = known.pod.clone();
            drop(state);
            self.give_up(key, pod, why);
        }
    }

    /// Gives up what may never begin: first it is written down why, then the pod is deleted.
    fn give_up(&mut self, key: Key, pod: Arc<Pod>, why: String) {
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let name = shape::name(key.0, key.1);
            tracing::warn!(dispatch = %key.0, member = key.1, why, "a pod is given up");
            let end = judge::never_ran(why);
            // By the state that was judged: one that began meanwhile is looked at again.
            let written = match shape::write_end(&pod, &end) {
                Ok(mut change) => {
                    change["metadata"]["resourceVersion"] = json!(pod.metadata.resource_version);
                    shared.cluster.merge("give up a pod", &name, &change).await
                }
                Err(error) => Err(Error::Unavailable(error.to_string())),
            };
            let given_up = match written {
                Ok(Some(pod)) => shared.cluster.delete_as_seen(&pod, GIVEN_UP).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = given_up {
                tracing::warn!(dispatch = %key.0, member = key.1, %error, "a pod can't be given up now; trying again");
                clock::sleep(AGAIN).await;
                if let Some(known) = shared.state().pods.get_mut(&key) {
                    known.given_up = false;
                }
            }
            Done::Again(key)
        });
    }

    fn insist_on_all(&mut self) {
        let open: Vec<Key> = {
            let state = self.shared.state();
            let open =
                |known: &Known| known.end().is_none() && known.pod.metadata.deletion_timestamp.is_none();
            state.pods.iter().filter(|(_, known)| open(known)).map(|(key, _)| *key).collect()
        };
        for key in open {
            self.insist(key);
        }
    }

    /// Asks again for the end of what is to be ended, in case nobody heard it.
    fn insist(&mut self, key: Key) {
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            match shared.kept(move |kept| kept.ending(key.0, key.1)).await {
                Ok(Some(ending)) => {
                    let grace = ending.grace.to_std() + super::LAST_WORDS;
                    let deleted = shared.cluster.delete(&shape::name(key.0, key.1), None, Some(grace)).await;
                    if let Err(error) = deleted {
                        tracing::warn!(dispatch = %key.0, member = key.1, %error, "a pod can't be deleted now");
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(dispatch = %key.0, member = key.1, %error, "nobody knows whether a pod is to be ended"),
            }
            Done::Nothing
        });
    }

    /// A pod that nobody confirmed is gone, as when a namespace is deleted or a finalizer was taken away by force.
    fn gone(&mut self, key: Key) {
        let shared = self.shared.clone();
        {
            let mut state = shared.state();
            let Some(known) = state.pods.get_mut(&key) else { return };
            known.gone = true;
            if known.finishing || known.end().is_some() {
                // What was reported stays so until it is confirmed, and whoever is finding out how it ended goes on.
                return;
            }
            known.finishing = true;
        }
        self.waiting.push_back(key);
    }

    fn begin_finishing(&mut self) {
        while self.finishing < FINISHING_MAX
            && let Some(key) = self.waiting.pop_front()
        {
            let found = self.shared.state().pods.get(&key).map(|known| (known.pod.clone(), known.gone));
            let Some((pod, gone)) = found else { continue };
            self.finishing += 1;
            let shared = self.shared.clone();
            self.tasks.spawn(async move {
                match find_end(&shared, key, &pod, gone).await {
                    Ok(end) => Done::Finished(key, Some(end)),
                    Err(error) => {
                        tracing::warn!(dispatch = %key.0, member = key.1, %error, "how an attempt ended can't be found out now; trying again");
                        clock::sleep(AGAIN).await;
                        Done::Finished(key, None)
                    }
                }
            });
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Again(key) => self.look_at(key),
            Done::Finished(key, end) => {
                self.finishing = self.finishing.saturating_sub(1);
                let shared = self.shared.clone();
                let mut state = shared.state();
                let Some(known) = state.pods.get_mut(&key) else { return };
                match end {
                    Some(end) => self.outbox.extend(known.finish(key, end)),
                    None => known.finishing = false,
                }
            }
        }
    }
}

/// Keeps what a pod waits for, for those who ask why its task doesn't run.
async fn say(shared: Arc<Shared>, key: Key, waits: Option<Waits>) -> Done {
    let said = waits.clone();
    let kept = shared.kept(move |kept| kept.put_waits(key.0, key.1, said.as_ref())).await;
    if let Err(error) = &kept {
        tracing::warn!(dispatch = %key.0, member = key.1, %error, "what a pod waits for can't be kept now; trying again");
        clock::sleep(AGAIN).await;
    }
    if let Some(known) = shared.state().pods.get_mut(&key) {
        known.saying = false;
        if kept.is_ok() {
            known.said = Said::Last(waits);
        }
    }
    Done::Again(key)
}

fn now() -> Timestamp {
    Timestamp::from_microsecond(clock::wall().0).unwrap_or_default()
}

/// Whether a pod is one that holds a name only.
fn is_tombstone(pod: &Pod) -> bool {
    shape::end(pod).is_some()
        && pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none() && spec.scheduling_gates.is_some())
}

/// Writes an end to its pod; none if the pod is gone.
async fn write(shared: &Shared, pod: &Pod, end: &End) -> Result<Option<Pod>, Error> {
    let change = shape::write_end(pod, end).map_err(|error| Error::Unavailable(error.to_string()))?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    shared.cluster.merge("write down how an attempt ended", name, &change).await
}

/// An end as far as it is believed: the result that it names must be the attempt's own.
async fn believe(shared: &Shared, key: Key, end: End) -> Result<End, Error> {
    let report = Report::new(key.0, key.1, 2, News::Ended(end));
    match shared.kept(move |kept| fleet::believed(report, kept)).await?.news {
        News::Ended(end) => Ok(end),
        News::Started { .. } => Err(Error::Unavailable("an end became a start".to_owned())),
    }
}

/// How the attempt of a pod that is over ended: what its own program said, else what was written to the pod, else what the cluster
/// says, which is written to the pod first, so that whoever looks next finds the same.
async fn find_end(shared: &Shared, key: Key, pod: &Pod, gone: bool) -> Result<End, Error> {
    let said = shared.kept(move |kept| kept.end(key.0, key.1)).await?;
    let ending = shared.kept(move |kept| kept.ending(key.0, key.1)).await?;
    let killed = ending.as_ref().map(|ending| ending.reason.as_str());
    if let Some(end) = said {
        return believe(shared, key, judge::claimed(end, killed, pod)).await;
    }
    // One that was given up and began in that moment ran.
    let began = judge::host(pod).is_some();
    if let Some(end) = shape::end(pod).filter(|end| !(began && end.outcome == Outcome::NotStarted)) {
        return Ok(end);
    }
    if gone && !judge::is_over(pod) {
        // It was seen last while it ran. What it says from then on nobody hears.
        let (outcome, why) = match killed {
            Some(reason) => (Outcome::Killed, reason),
            None => (Outcome::Lost, "its pod is gone: somebody else than Updraft removed it by force"),
        };
        return Ok(End { outcome, ..judge::never_ran(why.to_owned()) });
    }
    let mut end = match judge::last_words(pod) {
        Some(said) => believe(shared, key, judge::claimed(said, killed, pod)).await?,
        None => judge::cause(pod, killed),
    };
    if let Some(why) = judge::is_forsaken(pod, now(), &shared.options.patience) {
        (end.outcome, end.reason) = (Outcome::Lost, Some(why));
    }
    // One that is gone by now says nothing else later.
    match write(shared, pod, &end).await? {
        Some(written) => Ok(shape::end(&written).unwrap_or(end)),
        None => Ok(end),
    }
}
