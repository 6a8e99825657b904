//! What is known of one pod.

use std::sync::Arc;

use dags::time::Timestamp;
use engine::{
    dispatch::{End, News, Report},
    execution::Waits,
};
use k8s_openapi::api::core::v1::Pod;

use super::{Key, judge};

/// What was said last of what a pod waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Somebody else may have said something.
    Unknown,
    /// This; none if it waits for nothing unusual.
    Last(Option<Waits>),
}

/// A pod that isn't confirmed.
#[derive(Debug)]
pub(super) struct Known {
    /// As it was seen last.
    pub(super) pod: Arc<Pod>,
    /// The number of the listing during which it was seen last.
    pub(super) seen: u64,
    /// Whether its start was reported.
    pub(super) started: bool,
    /// Whether somebody finds out how it ended.
    pub(super) finishing: bool,
    /// What it waits for, as it was said last; and whether it is being said just now.
    pub(super) said: Said,
    pub(super) saying: bool,
    /// Whether what it waits for was given up, and it is being deleted.
    pub(super) given_up: bool,
    /// Whether the cluster doesn't have it any more.
    pub(super) gone: bool,
    end: Option<End>,
}

impl Known {
    /// One that was just made.
    pub(super) fn submitted(pod: &Pod) -> Self {
        let pod = Arc::new(slim(pod.clone()));
        // The next listing has it, whenever that began.
        Self {
            pod,
            seen: u64::MAX,
            started: false,
            finishing: false,
            said: Said::Last(None),
            saying: false,
            given_up: false,
            gone: false,
            end: None,
        }
    }

    /// One that somebody else may have said something of.
    pub(super) fn found(pod: &Pod) -> Self {
        Self { said: Said::Unknown, ..Self::submitted(pod) }
    }

    /// It was seen again.
    pub(super) fn update(&mut self, pod: Pod, seen: u64) {
        (self.pod, self.seen) = (Arc::new(slim(pod)), seen);
    }

    pub(super) fn since(&self) -> Timestamp {
        self.pod
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp(0), |time| Timestamp(time.0.as_microsecond()))
    }

    /// How it ended, once that can't change any more.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// It has ended, for good; the reports that are to be made.
    pub(super) fn finish(&mut self, key: Key, end: End) -> Vec<Report> {
        self.finishing = false;
        if self.end.is_some() {
            return Vec::new();
        }
        let started = self.start(key);
        self.end = Some(end.clone());
        let ended = Report::new(key.0, key.1, 2, News::Ended(end));
        started.into_iter().chain([ended]).collect()
    }

    /// The report of its start, if it has started and nobody was told.
    pub(super) fn start(&mut self, key: Key) -> Option<Report> {
        let host = judge::host(&self.pod).filter(|_| !self.started)?;
        self.started = true;
        Some(Report::new(key.0, key.1, 1, News::Started { host, pid: None }))
    }
}

/// Without what nobody here looks at.
fn slim(mut pod: Pod) -> Pod {
    pod.metadata.managed_fields = None;
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        spec.tolerations = None;
        spec.init_containers = None;
    }
    pod
}
