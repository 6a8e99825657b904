//! What goes wrong, and how Airflow's API says it. The only place where codes become statuses.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use dags::bundle::Unusable;
use engine::command::Refusal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::objects::ObjectsError;

/// Seconds after which it makes sense to ask again when nobody owns the shard.
const RETRY_AFTER_S: u32 = 5;

/// Why a request isn't answered as hoped.
#[derive(Debug)]
pub(crate) enum Error {
    /// It isn't there.
    NotFound(String),
    /// It is there, and nothing of that kind can be done with it.
    Method,
    /// The request contradicts what is there.
    Conflict(String),
    /// The request makes no sense.
    BadRequest(String),
    /// The request isn't what the contract describes.
    Invalid(Vec<Problem>),
    /// The body is larger than any request needs.
    TooLarge,
    /// The archive of a bundle is larger than any may be.
    BundleTooLarge(String),
    /// A bundle can't be taken in or looked into.
    Bundle(Unusable),
    /// Nobody knows who asks.
    Unauthorized(String),
    /// A password that is good for one thing only: setting another one.
    MustChange,
    /// Not for this actor.
    Forbidden(String),
    /// Too often.
    TooMany {
        /// Seconds after which it makes sense to ask again.
        after_s: u64,
    },
    /// The body isn't of the kind that the route takes.
    MediaType(&'static str),
    /// The request took too long to arrive.
    Slow,
    /// The contract has it, and this service hasn't yet.
    Absent(&'static str),
    /// The engine refused.
    Refused(Refusal),
    /// Nobody owns the shard. Nothing was done.
    NoOwner,
    /// The service has begun and still waits for its database. Nothing was done.
    Starting,
    /// Something outside of the database can't be read.
    Objects(ObjectsError),
    /// The database can't do it.
    Store(migrations::Error),
    /// A bug.
    Internal(String),
}

/// One thing that is wrong with a request, in the words of Airflow's API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Problem {
    /// Where: `body`, `query` or `path`, then keys and indices.
    pub(crate) loc: Vec<Value>,
    /// What is wrong.
    pub(crate) msg: String,
    /// A word for programs.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What was given.
    pub(crate) input: Value,
}

/// How an error is answered, in the words of Airflow's API.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Failure {
    detail: Detail,
    /// A stable word for programs: our addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
enum Detail {
    /// In a sentence.
    Text(String),
    /// Everything that is wrong with the request.
    Problems(Vec<Problem>),
}

impl Error {
    /// A value of the request that can't be used.
    pub(crate) fn value(
        place: &str,
        name: &str,
        message: impl Into<String>,
        input: impl Into<Value>,
    ) -> Self {
        Self::Invalid(vec![Problem {
            loc: vec![place.into(), name.into()],
            msg: message.into(),
            kind: "value_error".to_owned(),
            input: input.into(),
        }])
    }

    /// Nobody knows who asks, because of that.
    pub(crate) fn unauthorized(why: &str) -> Self {
        Self::Unauthorized(why.to_owned())
    }

    /// Something that the contract has and this service hasn't.
    pub(crate) fn unsupported(what: &str, instead: &str) -> Self {
        Self::BadRequest(format!("{what} isn't supported: {instead}"))
    }
}

impl From<migrations::Error> for Error {
    fn from(error: migrations::Error) -> Self {
        match error {
            migrations::Error::KeyReused { .. } => Self::Conflict(error.to_string()),
            error => Self::Store(error),
        }
    }
}

impl From<Unusable> for Error {
    fn from(error: Unusable) -> Self {
        Self::Bundle(error)
    }
}

impl From<ObjectsError> for Error {
    fn from(error: ObjectsError) -> Self {
        Self::Objects(error)
    }
}

/// The status that says a refusal of the engine.
fn status(code: &str) -> StatusCode {
    match code {
        "backfill.not_found"
        | "dag.not_found"
        | "dag_version.not_found"
        | "pool.not_found"
        | "run.not_found"
        | "task.not_found" => StatusCode::NOT_FOUND,
        "backfill.active"
        | "backfill.unreadable"
        | "bundle.overtaken"
        | "cohort.in_use"
        | "dag.has_runs"
        | "dag.quarantined"
        | "run.quarantined"
        | "dag.stale"
        | "run.busy"
        | "run.date_exists"
        | "run.exists"
        | "run.unfinished"
        | "tenant.queue_full" => StatusCode::CONFLICT,
        "backfill.future"
        | "backfill.max_active_runs"
        | "backfill.range"
        | "cohort.cycle"
        | "cohort.name"
        | "cohort.not_found"
        | "cohort.root"
        | "pool.slots"
        | "quota.amount"
        | "quota.limits"
        | "run.mark"
        | "task.mark" => StatusCode::UNPROCESSABLE_ENTITY,
        "input.not_awaited" => StatusCode::CONFLICT,
        "input.not_assigned" => StatusCode::FORBIDDEN,
        "input.invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        "engine.panicked" | "request.internal" => StatusCode::INTERNAL_SERVER_ERROR,
        // backfill.not_periodic, backfill.reprocess, backfill.reverse, pool.default, and what comes later.
        _ => StatusCode::BAD_REQUEST,
    }
}

/// What an error's answer says, beside the answer in Airflow's shape, for those who say it in another.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) problems: Vec<Problem>,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problems = match &self {
            Self::Invalid(problems) => problems.clone(),
            _ => Vec::new(),
        };
        let Answer { status, headers, code, detail } = self.answer();
        let body = match problems.as_slice() {
            [_, ..] => Failure { detail: Detail::Problems(problems.clone()), code: None },
            [] => Failure { detail: Detail::Text(detail.clone()), code: code.clone() },
        };
        let mut response = (status, headers, Json(body)).into_response();
        let detail = problems.is_empty().then_some(detail);
        response.extensions_mut().insert(Said { code, detail, problems });
        response
    }
}

/// An error as an answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    code: Option<String>,
    detail: String,
}

impl Error {
    fn answer(self) -> Answer {
        let mut headers = HeaderMap::new();
        let mut code = None;
        let (status, detail) = match self {
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned()),
            Self::Conflict(message) => (StatusCode::CONFLICT, message),
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, message),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            Self::Unauthorized(message) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                (StatusCode::UNAUTHORIZED, message)
            }
            Self::MustChange => {
                code = Some("password.must_change".to_owned());
                let message = "the password must be changed first: `updraft passwd`, or \
                               `POST /api/updraft/v1/me/password`";
                (StatusCode::FORBIDDEN, message.to_owned())
            }
            Self::TooMany { after_s } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(after_s));
                (StatusCode::TOO_MANY_REQUESTS, format!("too many requests: try again in {after_s} s"))
            }
            Self::MediaType(kind) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body's `Content-Type` must be {kind}"))
            }
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive".to_owned()),
            Self::Absent(what) => (StatusCode::NOT_IMPLEMENTED, format!("{what} isn't there yet")),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 1 MiB".to_owned()),
            Self::BundleTooLarge(message) => (StatusCode::PAYLOAD_TOO_LARGE, message),
            Self::Bundle(error) => {
                let (status, said) = match error {
                    Unusable::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bundle.refused"),
                    Unusable::Missing => (StatusCode::CONFLICT, "bundle.missing"),
                    Unusable::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "bundle.unavailable"),
                };
                code = Some(said.to_owned());
                (status, error.to_string())
            }
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "the request can't be used".to_owned()),
            Self::Refused(refusal) => {
                let status = status(&refusal.code);
                code = Some(refusal.code);
                (status, refusal.message)
            }
            Self::NoOwner => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
                code = Some("shard.no_owner".to_owned());
                let message =
                    "no scheduler took the request, so nothing was done: try again, and see that one runs";
                (StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
            }
            Self::Starting => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
                code = Some("service.starting".to_owned());
                let message =
                    "the service starts and waits for its database: try again, `/readyz` says how it is";
                (StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
            }
            Self::Objects(error @ ObjectsError::Missing) => (StatusCode::NOT_FOUND, error.to_string()),
            Self::Objects(error @ ObjectsError::Offset(_)) => (StatusCode::BAD_REQUEST, error.to_string()),
            Self::Objects(error @ ObjectsError::Unavailable(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            Self::Store(error) if error.is_away() => {
                tracing::warn!(error = chain(&error), "failed to answer a request: the database is away");
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
                code = Some("database.away".to_owned());
                let message = "the service can't reach its database now, so nobody knows whether that was done: look, \
                               then try again";
                (StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
            }
            Self::Store(error) => masked(&chain(&error)),
            Self::Internal(what) => masked(&what),
        };
        Answer { status, headers, code, detail }
    }
}

/// What nobody outside needs to know, logged here once under a number that can be quoted.
fn masked(what: &str) -> (StatusCode, String) {
    let id = uuid::Uuid::now_v7();
    tracing::error!(error.id = %id, error = what, "failed to answer a request");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("something went wrong here; the log says more under {id}"))
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
