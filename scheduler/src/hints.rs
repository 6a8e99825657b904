//! Hints between processes, as bells within this one. Whoever waits at a bell also looks once a second.

use std::convert::Infallible;

use dags::time::Span;
use migrations::{
    Db,
    wake::{self, Ear, Topic},
};
use tokio::sync::Notify;

use crate::{clock, desk::chain};

/// The first and the longest wait before listening again after an error.
const RETRY: (Span, Span) = (Span::millis(50), Span::seconds(1));
/// The shortest time between two hints about the same topic.
const APART: Span = Span::millis(5);

/// Calls `ring` whenever another process hints at the topic, until dropped. An error counts as a hint: one may be lost.
pub async fn hear(db: &Db, topic: Topic, ring: impl Fn()) -> Infallible {
    let mut wait = RETRY.0;
    loop {
        let mut ear = match Ear::open(db, topic).await {
            Ok(ear) => ear,
            Err(error) => {
                tracing::debug!(?topic, error = %chain(&error), "can't listen for hints; polling goes on");
                clock::sleep(wait).await;
                wait = Span((wait.0 * 2).min(RETRY.1.0));
                continue;
            }
        };
        wait = RETRY.0;
        // What was hinted at before we listened.
        ring();
        while let Ok(()) = ear.heard().await {
            ring();
        }
        ring();
    }
}

/// Hints at the topic whenever `bell` is rung for all who wait, until dropped.
pub async fn pass_on(db: &Db, topic: Topic, bell: &Notify) -> Infallible {
    let mut rung = Box::pin(bell.notified());
    rung.as_mut().enable();
    loop {
        rung.await;
        // Listens again before it sends: what happens meanwhile is a hint of its own.
        rung = Box::pin(bell.notified());
        rung.as_mut().enable();
        send(db, topic).await;
        clock::sleep(APART).await;
    }
}

/// Gives a hint; if it is lost, those who wait find out by looking.
pub async fn send(db: &Db, topic: Topic) {
    if let Err(error) = wake::send(db, topic).await {
        tracing::debug!(?topic, error = %chain(&error), "a hint wasn't sent; polling finds it");
    }
}
