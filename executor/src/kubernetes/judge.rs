//! What a pod's object says: whether its attempt runs, waits for what may never come, or has ended, and why.
//!
//! This is looked at without asking anybody, so it can be tested on objects as they were seen.

use std::time::Duration;

use dags::time::Span;
use engine::{
    dispatch::{End, Outcome},
    execution::Waits,
};
use k8s_openapi::{
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::{Patience, shape};

/// The exit code of a process that was killed.
const KILLED: i32 = 137;

/// The end of something that never ran.
pub(super) fn never_ran(reason: String) -> End {
    End {
        outcome: Outcome::NotStarted,
        duration: Span::ZERO,
        exit_code: None,
        reason: Some(reason),
        result: None,
        mapped_length: None,
    }
}

/// Where the attempt began, if it did.
pub(super) fn host(pod: &Pod) -> Option<String> {
    let state = task(pod)?.state.as_ref()?;
    let ran =
        state.running.is_some() || state.terminated.as_ref().is_some_and(|ended| ended.started_at.is_some());
    ran.then(|| pod.spec.as_ref()?.node_name.clone()).flatten()
}

/// Whether nothing in the pod runs any more, or ever will.
pub(super) fn is_over(pod: &Pod) -> bool {
    if matches!(phase(pod), "Succeeded" | "Failed") {
        return true;
    }
    // Other containers, which a template may have, may go on for ever.
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let task_ended = task(pod).and_then(|task| task.state.as_ref()).is_some_and(|it| it.terminated.is_some());
    if task_ended && statuses.is_some_and(|all| all.len() > 1) {
        return true;
    }
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    pod.metadata.deletion_timestamp.is_some() && (!has_node || ended(pod))
}

/// Whether its containers have ended or never will begin, by the word of their node.
fn ended(pod: &Pod) -> bool {
    let ended =
        |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let own = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    !own.is_empty() && own.iter().all(ended)
}

/// Why the node of a pod that is being deleted counts as lost, if it does.
pub(super) fn is_forsaken(pod: &Pod, now: Timestamp, patience: &Patience) -> Option<String> {
    // The instant by which its node should have ended it.
    let due = pod.metadata.deletion_timestamp.as_ref()?;
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    (!is_over(pod) && since(due, now) > patience.node_lost)
        .then(|| format!("the node {node} doesn't answer: nobody knows how the attempt ended"))
}

/// What a pod waits for that may never come, once it has waited too long.
pub(super) fn stuck(pod: &Pod, now: Timestamp, patience: &Patience) -> Option<String> {
    if phase(pod) != "Pending" || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Some(unscheduled) = unscheduled(pod) {
        let waited =
            unscheduled.last_transition_time.as_ref().map_or(Duration::ZERO, |time| since(time, now));
        return (waited > patience.unschedulable).then(|| {
            format!("no node has taken its pod for {} s: {}; {NO_NODE}", waited.as_secs(), why(unscheduled))
        });
    }
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let waited = started.map_or(Duration::ZERO, |time| since(time, now));
    let waiting = unstartable(pod).and_then(|Unstartable { says, help, hopeless }| {
        let most = if hopeless { Duration::ZERO } else { patience.unstartable };
        (waited > most).then(|| format!("{says}; {help}"))
    });
    waiting.or_else(|| {
        // A volume or the network can't be made; only events say which.
        let begun = statuses(pod).any(|status| {
            status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        });
        let most = patience.unstartable.max(patience.unschedulable);
        (!begun && waited > most)
            .then(|| format!("its containers weren't made within {} s: see the pod's events", most.as_secs()))
    })
}

/// What a pod waits for before it begins, as its cluster says it; none if there is nothing unusual.
pub(super) fn waits(pod: &Pod) -> Option<Waits> {
    if phase(pod) != "Pending" || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Some(unscheduled) = unscheduled(pod) {
        let says = format!("no node has taken its pod yet: {}", why(unscheduled));
        return Some(Waits { says, frees: "a node has room for its pod and fits it".to_owned() });
    }
    let Unstartable { says, help, .. } = unstartable(pod)?;
    Some(Waits { says, frees: format!("that changes: {help}") })
}

/// What to do about a pod that no node takes.
const NO_NODE: &str =
    "ask for less with `resources` or for other nodes with `pod`, or make room in the cluster";

fn why(unscheduled: &PodCondition) -> &str {
    unscheduled.message.as_deref().unwrap_or("its scheduler doesn't say why")
}

/// That no node has taken a pod which any node might.
fn unscheduled(pod: &Pod) -> Option<&PodCondition> {
    condition(pod, "PodScheduled")
        .filter(|condition| condition.status == "False")
        .filter(|condition| condition.reason.as_deref() != Some("SchedulingGated"))
}

/// Why a container can't be started.
struct Unstartable {
    says: String,
    help: &'static str,
    /// Whether nothing mends it by itself.
    hopeless: bool,
}

fn unstartable(pod: &Pod) -> Option<Unstartable> {
    statuses(pod).find_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let help = match reason {
            "InvalidImageName" | "ErrImageNeverPull" | "ErrImagePull" | "ImagePullBackOff"
            | "RegistryUnavailable" | "ImageInspectError" => {
                "look whether there is such an image and its node may pull it (`imagePullSecrets` in the executor's `pod_template`)"
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                "look whether what the executor's `pod_template` names is there, and the pod's events"
            }
            _ => return None,
        };
        let message = waiting.message.as_deref().unwrap_or_default();
        let image = &status.image;
        let says = format!(
            "its container `{}` with the image {image} can't be started: {reason}: {message}",
            status.name
        );
        let hopeless = ["InvalidImageName", "ErrImageNeverPull"].contains(&reason);
        Some(Unstartable { says, help, hopeless })
    })
}

/// How the attempt of a pod that is over ended, by what the cluster says alone. `memory` is the task's limit.
pub(super) fn cause(pod: &Pod, killed: Option<&str>) -> End {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("its node");
    let task_end = task(pod).and_then(|task| task.state.as_ref()).and_then(|state| state.terminated.as_ref());
    let duration = task_end.map_or(Span::ZERO, duration);
    let code = task_end.filter(|end| end.started_at.is_some()).map(|end| end.exit_code);
    let end = |outcome, reason: String| End { outcome, duration, exit_code: None, ..never_ran(reason) };
    let ran = host(pod).is_some();
    if let Some(reason) = killed {
        return end(Outcome::Killed, reason.to_owned());
    }
    if let Some(end_of_task) = task_end.filter(|end| end.reason.as_deref() == Some("OOMKilled")) {
        let mut end = end(Outcome::Failed, out_of_memory(pod));
        end.exit_code = Some(end_of_task.exit_code);
        return end;
    }
    let lost = if ran { Outcome::Lost } else { Outcome::NotStarted };
    if let Some(why) = disruption(pod) {
        return end(lost, why);
    }
    let status = pod.status.as_ref();
    let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
    match status.and_then(|status| status.reason.as_deref()) {
        Some("Evicted") => return end(lost, format!("it was evicted from the node {node}: {message}")),
        Some("DeadlineExceeded") => {
            return end(Outcome::TimedOut, format!("its pod ran longer than it may: {message}"));
        }
        Some(reason) if !ran => {
            return end(Outcome::NotStarted, format!("the node {node} refused its pod: {reason}: {message}"));
        }
        Some(reason) => {
            return end(Outcome::Lost, format!("the node {node} ended its pod: {reason}: {message}"));
        }
        None => {}
    }
    if let Some((name, failed)) = failed_init(pod) {
        let code = failed.exit_code;
        let said = failed.message.as_deref().unwrap_or_default();
        let reason = failed.reason.as_deref().unwrap_or("Error");
        // Whoever kills it kills what it had to do.
        let outcome = if code == KILLED { Outcome::Lost } else { Outcome::NotStarted };
        return end(
            outcome,
            format!("its init container `{name}` failed with code {code} ({reason}) {said}")
                .trim_end()
                .to_owned(),
        );
    }
    match (task_end, code) {
        (Some(failed), None) => {
            let reason = failed.reason.as_deref().unwrap_or("Error");
            let said = failed.message.as_deref().unwrap_or_default();
            end(Outcome::NotStarted, format!("its container couldn't be started: {reason}: {said}"))
        }
        (Some(_), Some(KILLED)) => {
            end(Outcome::Lost, format!("its supervisor on the node {node} was killed"))
        }
        (Some(_), Some(code)) => {
            end(Outcome::Lost, format!("its pod ended with code {code} without saying how the attempt ended"))
        }
        (None, _) => {
            end(lost, "its pod was deleted before it began, by somebody else than Updraft".to_owned())
        }
    }
}

/// What becomes of a failure when the cluster has seen that the pod ran out of memory.
fn with_memory(mut end: End, pod: &Pod) -> End {
    let killed = task(pod).and_then(|task| task.state.as_ref()).and_then(|state| state.terminated.as_ref());
    let out = killed.is_some_and(|killed| killed.reason.as_deref() == Some("OOMKilled"));
    // The supervisor may only have seen that a process was killed, which could have been anybody.
    let said = end.reason.as_deref().is_some_and(|reason| reason.contains("ran out of memory"));
    if out && !said && end.outcome == Outcome::Failed {
        let more = end.reason.take().map(|reason| format!("; {reason}")).unwrap_or_default();
        end.reason = Some(format!("{}{more}", out_of_memory(pod)));
    }
    end
}

fn out_of_memory(pod: &Pod) -> String {
    match shape::memory(pod) {
        Some(bytes) => format!("ran out of memory: its limit is {bytes} bytes"),
        None => "ran out of memory: its node or its namespace has a limit".to_owned(),
    }
}

/// What the program in the pod left in case the task API couldn't be reached. The task itself could have written it.
pub(super) fn last_words(pod: &Pod) -> Option<End> {
    let ended = task(pod)?.state.as_ref()?.terminated.as_ref()?;
    serde_json::from_str(ended.message.as_deref()?).ok()
}

/// An end that a pod claims. Nobody but Updraft kills: a pod that says so of itself is lost. One that was told to end, and
/// doesn't know by whom, was killed.
pub(super) fn claimed(mut end: End, killed: Option<&str>, pod: &Pod) -> End {
    match (&end.outcome, killed) {
        (Outcome::Lost, Some(reason)) => {
            (end.outcome, end.reason) = (Outcome::Killed, Some(reason.to_owned()));
        }
        (Outcome::Killed, None) => end.outcome = Outcome::Lost,
        _ => {}
    }
    with_memory(end, pod)
}

fn duration(end: &ContainerStateTerminated) -> Span {
    match (&end.started_at, &end.finished_at) {
        (Some(from), Some(to)) => Span((to.0.as_microsecond() - from.0.as_microsecond()).max(0)),
        _ => Span::ZERO,
    }
}

/// Why the cluster ended a pod that had done nothing.
fn disruption(pod: &Pod) -> Option<String> {
    let condition = condition(pod, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let message = condition.message.as_deref().unwrap_or_default();
    let what = match condition.reason.as_deref()? {
        "PreemptionByScheduler" => "its pod was preempted by one of higher priority",
        "DeletionByTaintManager" => "its node was lost, or it may not run there any more",
        "EvictionByEvictionAPI" => "its pod was evicted, as when a node is emptied",
        "DeletionByPodGC" => "its node is gone",
        "TerminationByKubelet" => "its node ended it, for want of something or to shut down",
        other => return Some(format!("the cluster ended its pod: {other}: {message}")),
    };
    Some(format!("{what}: {message}"))
}

fn failed_init(pod: &Pod) -> Option<(&str, &ContainerStateTerminated)> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find_map(|status| {
        let ended = status.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then_some((status.name.as_str(), ended))
    })
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn condition<'p>(pod: &'p Pod, kind: &str) -> Option<&'p PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let own = status.and_then(|status| status.container_statuses.as_ref());
    init.into_iter().flatten().chain(own.into_iter().flatten())
}

fn task(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == shape::TASK)
}

/// How long ago that was.
fn since(time: &Time, now: Timestamp) -> Duration {
    let passed = now.as_microsecond().saturating_sub(time.0.as_microsecond());
    Duration::from_micros(u64::try_from(passed).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PATIENCE: Patience = Patience {
        unschedulable: Duration::from_mins(1),
        unstartable: Duration::from_secs(30),
        node_lost: Duration::from_secs(10),
    };

    /// A pod on node `n1` since noon, with that status.
    fn pod(status: Value) -> Pod {
        let pod = json!({
            "metadata": { "name": "p", "annotations": { "updraft.dev/memory-bytes": "1000" } },
            "spec": { "nodeName": "n1", "containers": [] },
            "status": status,
        });
        serde_json::from_value(pod).unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn terminated(reason: &str, code: i32) -> Value {
        json!({ "name": "task", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": { "terminated": {
            "exitCode": code, "reason": reason,
            "startedAt": "2026-11-27T12:00:00Z", "finishedAt": "2026-11-27T12:00:05Z" } } })
    }

    fn waiting(reason: &str) -> Value {
        json!({ "name": "task", "image": "i:7", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": reason, "message": "no such thing" } } })
    }

    #[test]
    fn every_death_has_its_cause() {
        let condition = |reason: &str| json!([{ "type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m" }]);
        let cases = [
            (
                json!({ "phase": "Failed", "containerStatuses": [terminated("OOMKilled", 137)] }),
                Outcome::Failed,
                "ran out of memory: its limit is 1000 bytes",
            ),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory", "containerStatuses": [terminated("Error", 137)] }),
                Outcome::Lost,
                "evicted from the node n1: low on memory",
            ),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "message": "low on disk" }),
                Outcome::NotStarted,
                "evicted from the node n1: low on disk",
            ),
            (
                json!({ "phase": "Failed", "reason": "OutOfcpu", "message": "no room" }),
                Outcome::NotStarted,
                "refused its pod: OutOfcpu: no room",
            ),
            (
                json!({ "phase": "Failed", "conditions": condition("PreemptionByScheduler"), "containerStatuses": [terminated("Error", 143)] }),
                Outcome::Lost,
                "preempted by one of higher priority: m",
            ),
            (
                json!({ "phase": "Failed", "conditions": condition("DeletionByTaintManager"), "containerStatuses": [terminated("Error", 143)] }),
                Outcome::Lost,
                "node was lost",
            ),
            (
                json!({ "phase": "Failed", "containerStatuses": [terminated("Error", 137)] }),
                Outcome::Lost,
                "supervisor on the node n1 was killed",
            ),
            (
                json!({ "phase": "Failed", "containerStatuses": [terminated("Error", 3)] }),
                Outcome::Lost,
                "ended with code 3 without saying",
            ),
            (
                json!({ "phase": "Failed", "initContainerStatuses": [{ "name": "updraft-install", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": { "terminated": { "exitCode": 2, "reason": "Error" } } }] }),
                Outcome::NotStarted,
                "init container `updraft-install` failed with code 2",
            ),
            (json!({ "phase": "Pending" }), Outcome::NotStarted, "deleted before it began"),
        ];
        for (status, outcome, reason) in cases {
            let end = cause(&pod(status.clone()), None);
            assert_eq!(end.outcome, outcome, "{status}: {end:?}");
            assert!(end.reason.as_deref().unwrap().contains(reason), "{status}: {end:?}");
        }
        let killed = cause(
            &pod(json!({ "phase": "Failed", "containerStatuses": [terminated("Error", 143)] })),
            Some("asked"),
        );
        assert_eq!(
            (killed.outcome, killed.reason.as_deref(), killed.duration),
            (Outcome::Killed, Some("asked"), Span::seconds(5))
        );
    }

    #[test]
    fn what_the_program_in_the_pod_said_last_counts() {
        let said = End { exit_code: Some(7), ..never_ran("the task API was away".to_owned()) };
        let mut status = terminated("Error", 7);
        status["state"]["terminated"]["message"] = serde_json::to_string(&said).unwrap().into();
        let ended = pod(json!({ "phase": "Failed", "containerStatuses": [status] }));
        assert_eq!(last_words(&ended), Some(said.clone()));
        assert_eq!(claimed(said.clone(), None, &ended), said);
    }

    #[test]
    fn a_pod_can_t_say_that_it_was_killed() {
        let ended = pod(json!({ "phase": "Failed", "containerStatuses": [terminated("Error", 137)] }));
        let says = |outcome| End { outcome, ..never_ran("so it says".to_owned()) };
        assert_eq!(claimed(says(Outcome::Killed), None, &ended).outcome, Outcome::Lost);
        assert_eq!(claimed(says(Outcome::Killed), Some("a person"), &ended).outcome, Outcome::Killed);
        let told = claimed(says(Outcome::Lost), Some("a person"), &ended);
        assert_eq!((told.outcome, told.reason.as_deref()), (Outcome::Killed, Some("a person")));
    }

    #[test]
    fn what_the_cluster_knows_of_memory_goes_before_a_guess() {
        let ended = pod(json!({ "phase": "Failed", "containerStatuses": [terminated("OOMKilled", 137)] }));
        let guess = "ended by signal 9 (KILL): out of memory, or ended from outside";
        let end = End { outcome: Outcome::Failed, ..never_ran(guess.to_owned()) };
        let reason = claimed(end.clone(), None, &ended).reason.unwrap();
        assert!(reason.starts_with("ran out of memory: ") && reason.ends_with(guess), "{reason}");
        let known = End { reason: Some("ran out of memory: its limit is 7 bytes".to_owned()), ..end };
        assert_eq!(claimed(known.clone(), None, &ended), known);
    }

    #[test]
    fn a_sidecar_that_goes_on_keeps_no_attempt() {
        let mut sidecar = terminated("Completed", 0);
        (sidecar["name"], sidecar["state"]) = (json!("proxy"), json!({ "running": {} }));
        let with = |all: Value| pod(json!({ "phase": "Running", "containerStatuses": all }));
        assert!(is_over(&with(json!([terminated("Completed", 0), sidecar]))));
        assert!(!is_over(&with(json!([sidecar]))));
    }

    #[test]
    fn a_pod_that_may_never_begin_is_given_up_in_time() {
        let unscheduled = pod(json!({ "phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available",
            "lastTransitionTime": "2026-11-27T12:00:00Z" }] }));
        assert_eq!(stuck(&unscheduled, at("2026-11-27T12:01:00Z"), &PATIENCE), None);
        let why = stuck(&unscheduled, at("2026-11-27T12:01:01Z"), &PATIENCE).unwrap();
        assert_eq!(why, format!("no node has taken its pod for 61 s: 0/3 nodes are available; {NO_NODE}"));
        let says = |pod| waits(&pod).unwrap().says;
        assert_eq!(says(unscheduled), "no node has taken its pod yet: 0/3 nodes are available");
        let with = |reason: &str| {
            pod(
                json!({ "phase": "Pending", "startTime": "2026-11-27T12:00:00Z", "containerStatuses": [waiting(reason)] }),
            )
        };
        let why = stuck(&with("ErrImageNeverPull"), at("2026-11-27T12:00:01Z"), &PATIENCE).unwrap();
        assert!(why.contains("`task`") && why.contains("i:7") && why.contains("no such thing"), "{why}");
        assert!(why.contains("may pull it") && says(with("ErrImageNeverPull")).contains("i:7"), "{why}");
        assert_eq!(waits(&with("PodInitializing")), None);
        assert_eq!(stuck(&with("ImagePullBackOff"), at("2026-11-27T12:00:30Z"), &PATIENCE), None);
        assert!(stuck(&with("ImagePullBackOff"), at("2026-11-27T12:00:31Z"), &PATIENCE).is_some());
        assert_eq!(stuck(&with("PodInitializing"), at("2026-11-27T12:00:59Z"), &PATIENCE), None);
        assert!(stuck(&with("PodInitializing"), at("2026-11-27T12:01:01Z"), &PATIENCE).is_some());
    }

    #[test]
    fn a_pod_is_over_when_nothing_in_it_runs() {
        let mut deleted = pod(
            json!({ "phase": "Running", "containerStatuses": [{ "name": "task", "image": "i", "imageID": "",
            "ready": true, "restartCount": 0, "state": { "running": {} } }] }),
        );
        assert!(!is_over(&deleted));
        deleted.metadata.deletion_timestamp = Some(Time(at("2026-11-27T12:00:00Z")));
        assert!(!is_over(&deleted), "its containers still run");
        assert_eq!(is_forsaken(&deleted, at("2026-11-27T12:00:10Z"), &PATIENCE), None);
        assert!(is_forsaken(&deleted, at("2026-11-27T12:00:11Z"), &PATIENCE).unwrap().contains("n1"));
        deleted.status =
            pod(json!({ "phase": "Running", "containerStatuses": [terminated("Error", 1)] })).status;
        assert!(is_over(&deleted));
        deleted.status = pod(json!({ "phase": "Pending" })).status;
        assert!(!is_over(&deleted), "its node hasn't said anything");
        deleted.spec.as_mut().unwrap().node_name = None;
        assert!(is_over(&deleted), "no node will ever take it");
        assert_eq!(host(&deleted), None);
    }
}
