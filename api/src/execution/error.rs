//! What goes wrong, in the words of HTTP.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::AttemptError;

/// Why a request isn't answered as hoped.
#[derive(Debug)]
pub(super) enum Error {
    /// No such place.
    NotFound,
    /// No credential, or one that isn't good here.
    Unauthorized,
    /// The credential is good, but not for this.
    Forbidden(String),
    /// The request isn't what it should be.
    BadRequest(String),
    /// Its body has more bytes than this.
    TooLarge(usize),
    /// Its body didn't come in time.
    Slow,
    /// It was, and isn't any more.
    Gone(String),
    /// Not now.
    Unavailable(String),
    /// The database can't do it.
    Store(migrations::Error),
}

impl From<migrations::Error> for Error {
    fn from(error: migrations::Error) -> Self {
        Self::Store(error)
    }
}

impl From<AttemptError> for Error {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Gone => Self::Gone(error.to_string()),
            AttemptError::Unavailable(why) => Self::Unavailable(why),
            AttemptError::Refused(why) => Self::BadRequest(why),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found".to_owned()),
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "the credential is missing or isn't good here".to_owned())
            }
            Self::Forbidden(why) => (StatusCode::FORBIDDEN, why),
            Self::BadRequest(why) => (StatusCode::UNPROCESSABLE_ENTITY, why),
            Self::TooLarge(most) => {
                (StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have at most {most} bytes here"))
            }
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "the body didn't come in time".to_owned()),
            Self::Gone(why) => (StatusCode::GONE, why),
            Self::Unavailable(why) => {
                tracing::warn!(error = why, "failed to answer a worker");
                (StatusCode::SERVICE_UNAVAILABLE, "it can't be done at present: try again".to_owned())
            }
            Self::Store(error) => {
                tracing::error!(error = crate::error::chain(&error), "failed to answer a worker");
                (StatusCode::SERVICE_UNAVAILABLE, "the database can't do it at present: try again".to_owned())
            }
        };
        (status, Json(json!({ "detail": detail }))).into_response()
    }
}
