//! A log that is followed while its attempt writes it.

use dags::ids::{DagId, RunName, TaskId};
use serde_json::json;

use super::told;
use crate::{
    access::Permit,
    error::Error,
    extract::Params,
    v2::task_instances::{find, logs},
};

/// Whose log, and how far it was read.
pub(super) struct Follow {
    pub(super) dag_id: DagId,
    run: RunName,
    task: TaskId,
    map_index: i32,
    number: u32,
    from: Option<logs::Place>,
    over: bool,
}

impl Follow {
    /// The log that a query asks for.
    pub(super) fn asked_for(query: &Params) -> Result<Option<Self>, Error> {
        let Some(text) = query.text("log") else { return Ok(None) };
        let parts: Vec<&str> = text.split('/').collect();
        let read = || match parts.as_slice() {
            [dag, run, task, map_index, number] => Some(Self {
                dag_id: DagId::parse(dag).ok()?,
                run: RunName::parse(run).ok()?,
                task: TaskId::parse(task).ok()?,
                map_index: map_index.parse().ok()?,
                number: number.parse().ok()?,
                from: None,
                over: false,
            }),
            _ => None,
        };
        let wrong = || Error::value("query", "log", "must be `DAG/RUN/TASK/MAP_INDEX/TRY`", text);
        let from = query.read("from")?.unwrap_or_default();
        Ok(Some(Self { from: Some(from), ..read().ok_or_else(wrong)? }))
    }

    /// Whether nothing will follow.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What was written since the last piece, ready to be sent.
    pub(super) async fn piece(&mut self, may: &Permit) -> Result<Vec<u8>, Error> {
        let Some(from) = self.from else { return Ok(Vec::new()) };
        let found = find(may, &self.dag_id, &self.run, &self.task, self.map_index).await?;
        if found.row.try_number < self.number {
            return Ok(Vec::new());
        }
        let log = match logs::piece(may, found, self.number, from).await {
            // It is there again when whoever has it answers.
            Err(Error::Objects(_)) => return Ok(Vec::new()),
            read => read?,
        };
        self.from = log.continuation_token.as_deref().and_then(|token| token.parse().ok());
        self.over = self.from.is_none();
        let mut piece = Vec::new();
        if !log.content.is_empty() {
            piece = told("log", None, &log);
        }
        if self.over {
            piece.extend(told("log_end", None, &json!({})));
        }
        Ok(piece)
    }
}
