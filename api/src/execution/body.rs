//! Bodies of requests: read when it is known who asks, so much and no longer.

use std::{error::Error as _, time::Duration};

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body_util::LengthLimitError;

use super::error::Error;

/// How long a body may take to come.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The body, if it has at most so many bytes.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Error> {
    // What is announced isn't waited for.
    if body.size_hint().lower() > most as u64 {
        return Err(Error::TooLarge(most));
    }
    match tokio::time::timeout(TIME_MAX, axum::body::to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) => {
            Err(Error::TooLarge(most))
        }
        Ok(Err(error)) => Err(Error::BadRequest(format!("the body can't be read: {error}"))),
        Err(_) => Err(Error::Slow),
    }
}
