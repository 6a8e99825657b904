//! A window into the shell of the present term, for metrics and for people. The shell answers between two inputs.

use std::sync::{Arc, Mutex, PoisonError};

use dags::time::Span;
use engine::{figures::Figures, overview::Overview};
use tokio::sync::{mpsc, oneshot};

use crate::clock;

/// Questions that may wait.
const WAITING_MAX: usize = 8;
/// How long an answer may take.
const ANSWER_MAX: Span = Span::seconds(2);

/// Somebody wants to see.
#[derive(Debug)]
pub enum Look {
    /// Figures, which cost little.
    Figures(oneshot::Sender<Figures>),
    /// Everything, which costs a look at each instance.
    Overview(oneshot::Sender<Box<Overview>>),
}

/// The window, which stays when terms come and go.
#[derive(Debug, Clone, Default)]
pub struct Window(Arc<Mutex<Option<mpsc::Sender<Look>>>>);

impl Window {
    /// A new shell answers from now on.
    pub fn open(&self) -> mpsc::Receiver<Look> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Nobody answers any more.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Figures of the engine. None if there is none here, or if it doesn't answer.
    pub async fn figures(&self) -> Option<Figures> {
        self.ask(Look::Figures).await
    }

    /// The engine at a glance. None if there is none here, or if it doesn't answer.
    pub async fn overview(&self) -> Option<Box<Overview>> {
        self.ask(Look::Overview).await
    }

    async fn ask<T>(&self, look: impl FnOnce(oneshot::Sender<T>) -> Look) -> Option<T> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (reply, answer) = oneshot::channel();
        sender.try_send(look(reply)).ok()?;
        tokio::select! {
            answer = answer => answer.ok(),
            () = clock::sleep(ANSWER_MAX) => None,
        }
    }
}
