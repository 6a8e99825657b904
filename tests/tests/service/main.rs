//! The real service end to end: `updraft standalone` on SQLite and on PostgreSQL, the roles as processes of their own on
//! PostgreSQL, and all of it through `kill -9`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the helpers of tests fail the test, and say what they measured and what the service wrote"
)]

mod agreement;
mod airflow;
mod alerts;
mod broker;
mod claims;
mod crashes;
mod deployments;
mod failover;
mod folder;
mod gangs;
mod history;
mod keeping;
mod lifecycle;
mod monitoring;
mod openapi;
mod outages;
mod quarantine;
mod quotas;
mod roles;
mod secrets;
mod site;
mod split;
mod starts;
mod task_api;
mod traces;
mod workers;
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
