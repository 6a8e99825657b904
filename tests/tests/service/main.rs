//! The real service, `updraft standalone`, end to end: on SQLite and on PostgreSQL, and through `kill -9`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the helpers of tests fail the test, and say what they measured and what the service wrote"
)]

mod alerts;
mod crashes;
mod folder;
mod history;
mod lifecycle;
mod quarantine;
mod secrets;
mod site;
mod works;

/// Makes two tests of each function, one for each database.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(crate::site::Site::sqlite().await).await; })+
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(crate::site::Site::postgres().await).await; })+
        }
    };
}
pub(crate) use on_both;
