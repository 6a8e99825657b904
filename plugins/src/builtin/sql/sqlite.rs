//! SQLite: a file of the attempt's folder, of the bundle (read-only) or of a folder that the platform opened.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Row as _, TypeInfo as _,
    ValueRef as _,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow},
};

use super::{
    database::{Problem, Query, explain},
    rows::Sink,
    script::Script,
};
use crate::{
    clock,
    context::Connection,
    operator::{Failure, Job, inside},
};

/// How long to wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// After how many steps of its machine SQLite looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// Statements that can't run, or mean something else, inside of a transaction.
const OWN_TRANSACTION: [&str; 6] = ["BEGIN", "COMMIT", "END", "ROLLBACK", "PRAGMA", "VACUUM"];

/// Everything that can be decided before there is a connection.
pub(super) struct Plan {
    options: SqliteConnectOptions,
    text: String,
    parameters: Vec<Value>,
    transaction: bool,
    timeout: Duration,
}

impl Plan {
    pub(super) fn new(query: &Query<'_>, job: &Job<'_>, connection: &Connection) -> Result<Self, Failure> {
        let script = Script::read(query.text, false);
        if let Some(why) = script.reaches_out() {
            return Err(query.invalid(why));
        }
        if !query.parameters.is_empty() && script.statements.len() != 1 {
            return Err(query.invalid("`parameters` need a query of exactly one statement"));
        }
        if let Some(key) = connection.extra.keys().next() {
            return Err(
                query.wrong_connection(format!("has `extra.{key}`: SQLite connections have no options"))
            );
        }
        let named =
            connection.schema.as_deref().or(connection.host.as_deref()).filter(|path| !path.is_empty());
        let named =
            named.ok_or_else(|| query.wrong_connection("names no file: put its path into `schema`"))?;
        let (path, read_only) = locate(job, named).map_err(|why| query.wrong_connection(why))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(!read_only)
            .read_only(read_only)
            .immutable(read_only)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT.min(query.timeout))
            .disable_statement_logging();
        Ok(Self {
            options,
            text: query.text.to_owned(),
            parameters: query.parameters.to_vec(),
            transaction: script.statements.len() > 1 && !script.any_starts_with(&OWN_TRANSACTION),
            timeout: query.timeout,
        })
    }

    pub(super) async fn run(self, sink: &mut dyn Sink) -> Result<u64, Problem> {
        let deadline = clock::now() + self.timeout;
        let problem = |error: &sqlx::Error| {
            if clock::now() >= deadline { Problem::Timeout } else { Problem::Query(explain(error)) }
        };
        let mut connection = self.options.connect().await.map_err(|e| Problem::Connect(explain(&e)))?;
        connection
            .lock_handle()
            .await
            .map_err(|e| Problem::Connect(explain(&e)))?
            .set_progress_handler(STEPS_BETWEEN_LOOKS, move || clock::now() < deadline);
        if self.transaction {
            sqlx::raw_sql("begin immediate").execute(&mut connection).await.map_err(|e| problem(&e))?;
        }
        rows(&mut connection, self.text, &self.parameters, sink, problem).await?;
        if self.transaction {
            sqlx::raw_sql("commit").execute(&mut connection).await.map_err(|e| problem(&e))?;
        }
        let changed: i64 = sqlx::query_scalar("select total_changes()")
            .fetch_one(&mut connection)
            .await
            .map_err(|e| problem(&e))?;
        connection.close().await.map_err(|e| problem(&e))?;
        Ok(changed.unsigned_abs())
    }
}

async fn rows(
    connection: &mut SqliteConnection,
    text: String,
    parameters: &[Value],
    sink: &mut dyn Sink,
    problem: impl Fn(&sqlx::Error) -> Problem,
) -> Result<(), Problem> {
    let mut columns: Option<Vec<String>> = None;
    let mut steps = if parameters.is_empty() {
        sqlx::raw_sql(AssertSqlSafe(text)).fetch_many(connection).boxed()
    } else {
        let mut query = sqlx::query(AssertSqlSafe(text));
        for value in parameters {
            query = match value {
                Value::Null => query.bind(None::<i64>),
                Value::Bool(b) => query.bind(*b),
                Value::Number(n) => match n.as_i64() {
                    Some(n) => query.bind(n),
                    None => query.bind(n.as_f64()),
                },
                Value::String(text) => query.bind(text.clone()),
                Value::Array(_) | Value::Object(_) => query.bind(value.to_string()),
            };
        }
        sqlx::Executor::fetch_many(connection, query)
    };
    while let Some(step) = steps.try_next().await.map_err(|e| problem(&e))? {
        match step {
            Either::Left(_) => columns = None,
            Either::Right(row) => {
                if columns.is_none() {
                    let names: Vec<_> = row.columns().iter().map(|c| c.name().to_owned()).collect();
                    sink.begin(&names)?;
                    columns = Some(names);
                }
                sink.row(columns.as_deref().unwrap_or_default(), values(&row)?)?;
            }
        }
    }
    Ok(())
}

/// The file that a path means, and whether it is read-only. A new file is made in the attempt's folder.
fn locate(job: &Job<'_>, named: &str) -> Result<(PathBuf, bool), String> {
    if named == ":memory:" {
        return Ok((named.into(), false));
    }
    let path = Path::new(named);
    if path.components().any(|c| matches!(c, Component::ParentDir | Component::Prefix(_))) {
        return Err("names a path with `..`".to_owned());
    }
    if !path.is_absolute() {
        if let Ok(found) = inside(&job.dirs.work, named) {
            return Ok((found, false));
        }
        if let Ok(found) = inside(&job.ctx.bundle_dir, named) {
            return Ok((found, true));
        }
        let parent =
            path.parent().filter(|p| !p.as_os_str().is_empty()).map_or(".", |p| p.to_str().unwrap_or("."));
        let folder = inside(&job.dirs.work, parent).map_err(|e| e.to_string())?;
        return Ok((folder.join(path.file_name().unwrap_or_default()), false));
    }
    // The file may not be there yet, its folder must be; links in between are followed before they are judged.
    let parent = path.parent().unwrap_or(path);
    let real = path
        .canonicalize()
        .or_else(|_| parent.canonicalize().map(|p| p.join(path.file_name().unwrap_or_default())));
    let real = real.map_err(|e| format!("names a file whose folder can't be opened: {}", e.kind()))?;
    let open =
        job.ctx.policy.data_dirs.iter().filter_map(|d| d.canonicalize().ok()).any(|d| real.starts_with(d));
    if open {
        Ok((real, false))
    } else {
        Err("names a file outside of the folders that are open to tasks: a platform admin opens one with \
             the setting `tasks.data_folders`"
            .to_owned())
    }
}

fn values(row: &SqliteRow) -> Result<Vec<Value>, Problem> {
    let wrong = |e: sqlx::Error| Problem::Rows(explain(&e));
    (0..row.len())
        .map(|i| {
            let raw = row.try_get_raw(i).map_err(wrong)?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            let info = raw.type_info();
            Ok(match info.name() {
                "INTEGER" => row.try_get_unchecked::<i64, _>(i).map_err(wrong)?.into(),
                // The infinities aren't JSON.
                "REAL" => serde_json::Number::from_f64(row.try_get_unchecked(i).map_err(wrong)?)
                    .map_or_else(|| "Infinity".into(), Value::Number),
                "BLOB" => {
                    BASE64_STANDARD.encode(row.try_get_unchecked::<Vec<u8>, _>(i).map_err(wrong)?).into()
                }
                _ => row.try_get_unchecked::<String, _>(i).map_err(wrong)?.into(),
            })
        })
        .collect()
}
