//! Whether workers may still be workers: those whose credential was taken back are given up within seconds, whatever they say.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Event;
use crate::{clock, facts::Facts, fleet::Handle};

/// Looks at a fleet's workers until `end`.
pub(super) fn watch<F: Facts>(fleet: Handle, facts: F, events: mpsc::Sender<Event>, end: CancellationToken) {
    let watch = async move {
        loop {
            for input in fleet.next_absent(&facts).await {
                if events.send(Event::Input(input)).await.is_err() {
                    return;
                }
            }
        }
    };
    clock::background(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = watch => {}
        }
    });
}
