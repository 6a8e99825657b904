//! What the service and the API read and write, one file per aggregate.
//!
//! Everything takes a [`crate::TenantScope`] and adds its predicate itself. Rows that the engine owns are only read here;
//! whatever is to change them goes through [`inbox`].

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

pub mod account;
pub mod alert;
pub mod asset;
pub mod attempt_claim;
pub mod audit;
pub mod backfill;
pub mod bundle;
pub mod connection;
pub mod dag;
pub mod doctor;
pub mod event;
pub mod import_error;
pub mod inbox;
pub mod input_request;
pub mod log;
pub mod overview;
pub mod pool;
pub mod quota;
pub mod result;
pub mod retention;
pub mod role;
pub mod run;
pub mod shard;
pub mod task_instance;
pub mod tenant;
pub mod token;
pub mod variable;
pub mod worker;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// How many rows there are on all pages.
    pub total: u64,
}

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many rows at most.
    pub limit: u64,
    /// How many rows to leave out at the start.
    pub offset: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { limit: 50, offset: 0 }
    }
}

/// Notices that are remembered, so that a list that is polled doesn't say the same thing again and again.
const NOTICES_MAX: usize = 1_000;

/// The rows of a list that can be read. One that can't is left out, which the log says once: it never keeps the rest of the
/// list from whoever asks. `key` names a row.
pub(crate) fn readable<R, T>(
    found: impl IntoIterator<Item = R>,
    key: impl Fn(&R) -> String,
    read: impl Fn(R) -> Result<T, crate::Error>,
) -> Vec<T> {
    let read = |row: R| {
        let key = key(&row);
        read(row).inspect_err(|why| left_out(&key, why)).ok()
    };
    found.into_iter().filter_map(read).collect()
}

fn left_out(key: &str, why: &crate::Error) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() < NOTICES_MAX && said.insert(format!("{key}: {why}")) {
        tracing::error!(row = key, error = %why, "a row can't be read and is left out of lists until it is mended");
    }
}

/// The column has that text in it, with case as it is; nothing in the text is a pattern.
pub(crate) fn contains(
    db: &crate::Db,
    column: impl sea_orm::ColumnTrait,
    text: &str,
) -> sea_orm::sea_query::Expr {
    use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
    let find = match db {
        crate::Db::Sqlite(_) => "instr",
        crate::Db::Postgres(_) => "strpos",
    };
    let column = Expr::col(column.as_column_ref());
    Expr::expr(Func::cust(find).arg(column).arg(text)).gt(0)
}
