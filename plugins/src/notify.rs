//! Notifiers: how what happened reaches the people of a route.
//!
//! A route is a connection of the tenant whose type says how: `notify_email`, `notify_http`, `notify_log` or `notify_dag`.
//! The page `docs/notifications.md` describes each. [`read`] checks such a connection, [`Route::send`] delivers; a
//! `notify_dag` starts a run, which is the caller's to do.

use dags::{ids::DagId, time::Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    context::Connection,
    policy::Policy,
    smtp::{self, Mail},
};

mod webhook;

/// The types of connections that are routes.
pub const TYPES: &[&str] = &["notify_email", "notify_http", "notify_log", "notify_dag"];

/// What is to be said. As JSON it is the body of a webhook and the conf of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    /// The alert's identity: the same one may arrive twice.
    pub id: String,
    /// The route.
    pub route: String,
    /// What happened: `failure`, `success`, `retry`, `deadline`, `input`; or `left_out`, which stands for several alerts, of which
    /// the rest of the notice names the first.
    pub what: String,
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub run_id: String,
    /// The task, if it is about one.
    pub task_id: Option<String>,
    /// Its map index, -1 for an ordinary task.
    pub map_index: Option<i32>,
    /// The try.
    pub try_number: Option<u32>,
    /// Why, where that isn't plain.
    pub reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl Notice {
    /// The same in one line.
    pub fn headline(&self) -> String {
        let run = format!("run `{}` of `{}`", self.run_id, self.dag_id);
        let subject = match (&self.task_id, self.map_index) {
            (Some(task), Some(index)) if index >= 0 => format!("`{task}[{index}]` in {run}"),
            (Some(task), _) => format!("`{task}` in {run}"),
            (None, _) => run,
        };
        match self.what.as_str() {
            "failure" => format!("{subject} failed"),
            "success" => format!("{subject} succeeded"),
            "retry" => format!("{subject} failed and is tried again"),
            "deadline" => format!("{subject} missed its deadline"),
            "left_out" => format!("alerts were left out, the first of them about {subject}"),
            other => format!("{subject}: {other}"),
        }
    }

    /// The same as the fields of an object.
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// The same as a text of several lines.
    fn text(&self) -> String {
        let mut lines = vec![format!("{}.", self.headline())];
        lines.extend(self.reason.as_ref().map(|reason| format!("Reason: {reason}")));
        lines.extend(self.try_number.map(|number| format!("Try: {number}")));
        lines.push(format!("When: {}", self.at));
        lines.push(format!("Route: {}", self.route));
        lines.join("\n")
    }
}

/// Why something wasn't delivered, in a sentence without secrets, addresses or answers of the other side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// How the people of a route are reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// By mail.
    Email(Connection),
    /// By a request.
    Http(Connection),
    /// By a line in the service's own log.
    Log,
    /// By a run of this DAG, whose conf is the [`Notice`].
    Dag(DagId),
}

/// The route that a connection describes.
pub fn read(name: &str, connection: Connection) -> Result<Route, Error> {
    let wrong = |why: &str| Error(format!("the connection `{name}` {why}"));
    match connection.conn_type.as_str() {
        "notify_email" => Ok(Route::Email(connection)),
        "notify_http" => Ok(Route::Http(connection)),
        "notify_log" => Ok(Route::Log),
        "notify_dag" => {
            let dag_id = connection.extra.get("dag_id").and_then(Value::as_str);
            let dag_id = dag_id.ok_or_else(|| wrong("has no `extra.dag_id`, the DAG to start"))?;
            DagId::parse(dag_id)
                .map(Route::Dag)
                .map_err(|error| wrong(&format!("has `extra.dag_id: {dag_id:?}`, which {error}")))
        }
        other => Err(wrong(&format!(
            "is of type `{other}`, which is no route: {} are",
            dags::suggest::list(TYPES.iter().copied(), "and")
        ))),
    }
}

/// What becomes of a notice that was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// It was delivered.
    Delivered,
    /// A run of this DAG is to be started with it.
    Start(DagId),
}

impl Route {
    /// Delivers a notice. It may have been delivered before, if nobody could note it. Must run inside of a Tokio runtime.
    pub async fn send(self, notice: &Notice, policy: &Policy) -> Result<Sent, Error> {
        match self {
            Self::Email(connection) => {
                let (notice, policy) = (notice.clone(), policy.clone());
                let sent = tokio::task::spawn_blocking(move || mail(&notice, &connection, &policy)).await;
                sent.map_err(|_| Error("sending the mail was cut short".to_owned()))??;
                Ok(Sent::Delivered)
            }
            Self::Http(connection) => {
                webhook::send(notice, &connection, policy).await.map(|()| Sent::Delivered)
            }
            Self::Log => {
                let what = notice.what.as_str();
                tracing::warn!(
                    route = notice.route,
                    dag.id = notice.dag_id,
                    run.id = notice.run_id,
                    task.id = notice.task_id,
                    what,
                    reason = notice.reason,
                    "{}",
                    notice.headline()
                );
                Ok(Sent::Delivered)
            }
            Self::Dag(dag_id) => Ok(Sent::Start(dag_id)),
        }
    }
}

fn mail(notice: &Notice, connection: &Connection, policy: &Policy) -> Result<(), Error> {
    let wrong = |why: &str| Error(format!("the connection `{}` {why}", notice.route));
    let to = connection.extra.get("to").ok_or_else(|| wrong("has no `extra.to`, the addresses"))?;
    let to = crate::catalog::names(to);
    let headline = notice.headline();
    let mail = Mail { to: &to, cc: &[], subject: &format!("[Updraft] {headline}"), body: &notice.text() };
    match smtp::send(&mail, connection, &["from", "to", "tls", "recipients"], policy) {
        Ok(_) => Ok(()),
        Err(smtp::Error::Connection(why)) => Err(wrong(&why)),
        Err(smtp::Error::Mail(why) | smtp::Error::Refused(why) | smtp::Error::Later(why)) => Err(Error(why)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn connection(conn_type: &str, extra: &Value) -> Connection {
        Connection {
            conn_type: conn_type.to_owned(),
            host: None,
            port: None,
            schema: None,
            login: None,
            password: None,
            extra: extra.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn a_route_is_read_from_its_connection() {
        let dag = read("r", connection("notify_dag", &json!({ "dag_id": "tell" })));
        assert_eq!(dag, Ok(Route::Dag("tell".parse().unwrap())));
        assert_eq!(read("r", connection("notify_log", &json!({}))), Ok(Route::Log));
        let says =
            |conn_type: &str, extra: Value| read("r", connection(conn_type, &extra)).unwrap_err().to_string();
        assert_eq!(
            says("postgres", json!({})),
            "the connection `r` is of type `postgres`, which is no route: `notify_email`, `notify_http`, `notify_log` \
             and `notify_dag` are"
        );
        assert_eq!(
            says("notify_dag", json!({})),
            "the connection `r` has no `extra.dag_id`, the DAG to start"
        );
        assert!(says("notify_dag", json!({ "dag_id": "a/b" })).contains("\"a/b\""));
    }

    #[test]
    fn a_headline_says_what_happened_where() {
        let mut notice = Notice {
            id: "i".to_owned(),
            route: "r".to_owned(),
            what: "failure".to_owned(),
            dag_id: "d".to_owned(),
            run_id: "x".to_owned(),
            task_id: None,
            map_index: None,
            try_number: None,
            reason: None,
            at: Timestamp(0),
        };
        assert_eq!(notice.headline(), "run `x` of `d` failed");
        (notice.task_id, notice.map_index) = (Some("t".to_owned()), Some(3));
        "retry".clone_into(&mut notice.what);
        assert_eq!(notice.headline(), "`t[3]` in run `x` of `d` failed and is tried again");
        assert_eq!(notice.fields()["map_index"], 3);
    }
}
