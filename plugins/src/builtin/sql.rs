//! `sql`, `sql_check` and `sql_sensor`: queries on the tenant's own databases.

use dags::time::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::{
    database::{Problem, Query},
    expect::Expect,
    rows::{Kept, Saved},
};
use super::{
    Operator,
    sensor::{Look, Mode, Wait, minute, week},
};
use crate::{
    log,
    operator::{Failure, Finished, Job, Step, scratch_file},
    schema,
    template::truthy,
};

mod database;
mod expect;
mod postgres;
mod rows;
mod script;
mod sqlite;

/// Runs SQL on PostgreSQL or SQLite.
///
/// The result is the list of rows, objects of column and value, of the last statement that returns any. Several
/// statements run in one transaction, unless the script has transactions of its own. `parameters` are bound, never
/// pasted: `where day = $1`. An expression inside of the query itself may only give letters, digits and
/// `_ . : / @ = + , -`; pass anything else through the filters `sql` (a literal) or `ident` (a name).
///
/// The connection is of type `postgres` (`host`, `port`, `login`, `password`, `schema` for the database, `extra.sslmode`)
/// or `sqlite` (`schema` for the file: of the attempt's folder, of the DAG's files, then read-only, or of a folder that
/// the platform opened).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["query"]}, {"required": ["file"]}]))]
pub(crate) struct Sql {
    /// The connection.
    connection: String,
    /// The query, or several statements with `;` between them.
    query: Option<String>,
    /// A file with the query; expressions in it are rendered too.
    file: Option<String>,
    /// The values for `$1`, `$2`, ... of a single statement.
    #[serde(default)]
    parameters: Vec<Value>,
    /// A file of the attempt's folder to write the rows to instead: `.csv` or `.jsonl`. The result is then
    /// `{ path, rows, bytes }`.
    save: Option<String>,
    /// How many rows the result may have; more fail the task.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 100_000))]
    limit: u32,
    /// After how long the database ends the query.
    #[serde(default = "hour")]
    #[schemars(schema_with = "schema::duration")]
    timeout: Span,
}

/// Fails unless a query gives what is expected.
///
/// With `expect`, the first column of the first row is compared; without, every value of the first row must be true:
/// not null, zero, false or empty. No row fails. Connection, query and parameters: as for `sql`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["query"]}, {"required": ["file"]}]))]
pub(crate) struct SqlCheck {
    /// The connection.
    connection: String,
    /// The query.
    query: Option<String>,
    /// A file with the query; expressions in it are rendered too.
    file: Option<String>,
    /// The values for `$1`, `$2`, ...
    #[serde(default)]
    parameters: Vec<Value>,
    /// The condition: `> 0`, `= 'done'`, `!= null`, `between 1 and 5`.
    #[schemars(regex(pattern = expect::PATTERN))]
    expect: Option<String>,
    /// After how long the database ends the query.
    #[serde(default = "hour")]
    #[schemars(schema_with = "schema::duration")]
    timeout: Span,
}

/// Waits until a query gives what is expected.
///
/// The conditions are those of `sql_check`; no row means not yet. A database that doesn't answer also counts as not yet.
/// The first row, an object, is the result.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["query"]}, {"required": ["file"]}]))]
pub(crate) struct SqlSensor {
    /// The connection.
    connection: String,
    /// The query.
    query: Option<String>,
    /// A file with the query; expressions in it are rendered too.
    file: Option<String>,
    /// The values for `$1`, `$2`, ...
    #[serde(default)]
    parameters: Vec<Value>,
    /// The condition: `> 0`, `= 'done'`, `!= null`, `between 1 and 5`.
    #[schemars(regex(pattern = expect::PATTERN))]
    expect: Option<String>,
    /// After how long the database ends one query.
    #[serde(default = "minute")]
    #[schemars(schema_with = "schema::duration")]
    query_timeout: Span,
    /// How to wait between two looks.
    #[serde(default)]
    mode: Mode,
    /// The time between two looks.
    #[serde(default = "minute")]
    #[schemars(schema_with = "schema::duration")]
    interval: Span,
    /// How long to wait before the sensor fails, without retries, counted from the try's first start.
    #[serde(default = "week")]
    #[schemars(schema_with = "schema::duration")]
    timeout: Span,
    /// Be skipped instead of failed when the time is over.
    #[serde(default)]
    soft_fail: bool,
}

const fn thousand() -> u32 {
    1_000
}

const fn hour() -> Span {
    Span::seconds(3_600)
}

/// The query's text, from the parameter or the file.
fn text(operator: &str, job: &Job<'_>, query: Option<String>, file: Option<&str>) -> Result<String, Failure> {
    match (query, file) {
        (Some(query), None) => Ok(query),
        (None, Some(file)) => job.rendered_file(file),
        (Some(_), Some(_)) | (None, None) => Err(Failure::Invalid {
            operator: operator.to_owned(),
            why: "give either `query` or `file`".to_owned(),
        }),
    }
}

impl Operator for Sql {
    const NAME: &'static str = "sql";
    const MAIN: Option<&'static str> = Some("query");
    const TEMPLATED: &'static [&'static str] = &["query", "parameters", "save"];
    const CODE: &'static [&'static str] = &["query"];
    const FILES: &'static [&'static str] = &["file"];
    const CONNECTIONS: &'static [&'static str] = &["connection"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let text = text(Self::NAME, job, self.query, self.file.as_deref())?;
        let query = Query {
            operator: Self::NAME,
            connection: &self.connection,
            text: &text,
            parameters: &self.parameters,
            timeout: self.timeout.to_std(),
        };
        let finished = match &self.save {
            None => {
                let mut kept = Kept::new(self.limit);
                query.run(job, &mut kept)?.map(|changed| (changed, kept.rows.into()))
            }
            Some(path) => {
                let created = Saved::create(scratch_file(job.dirs, path)?);
                let created =
                    created.ok_or_else(|| query.invalid("`save` must end with `.csv` or `.jsonl`"))?;
                let mut saved = created.map_err(|source| Failure::File { path: path.clone(), source })?;
                query.run(job, &mut saved)?.and_then(|changed| Ok((changed, saved.finish()?)))
            }
        };
        Ok(Step::Done(match finished {
            Ok((changed, result)) => {
                log(&format!("done, {changed} rows affected"));
                Finished::success(Some(result))
            }
            Err(problem) => Finished::failed(problem.to_string()),
        }))
    }
}

/// Looks at the first row: whether the condition holds, and what was found.
struct Check {
    expect: Option<(String, Expect)>,
}

enum Found {
    Holds(Value),
    Not(String),
}

impl Check {
    fn new(operator: &str, expect: Option<String>) -> Result<Self, Failure> {
        let invalid = |why| Failure::Invalid { operator: operator.to_owned(), why };
        let expect =
            expect.map(|text| Expect::parse(&text).map(|e| (text, e))).transpose().map_err(invalid)?;
        Ok(Self { expect })
    }

    fn look(&self, query: &Query<'_>, job: &Job<'_>) -> Result<Result<Found, Problem>, Failure> {
        let mut first = First(None);
        Ok(query.run(job, &mut first)?.map(|_| match first.0 {
            None => Found::Not("the query returned no row".to_owned()),
            Some(row) => self.judge(row),
        }))
    }

    fn judge(&self, (columns, values): (Vec<String>, Vec<Value>)) -> Found {
        let why = match &self.expect {
            Some((text, expect)) => {
                let value = values.first().unwrap_or(&Value::Null);
                (!expect.holds(value)).then(|| format!("the query gave {value}, expected {}", text.trim()))
            }
            None => values.iter().zip(&columns).find(|(value, _)| !truthy(value)).map(|(value, column)| {
                format!("the query gave {value} for `{column}`, expected something that is neither null, zero, false nor empty")
            }),
        };
        match why {
            Some(why) => Found::Not(why),
            None => Found::Holds(Value::Object(columns.into_iter().zip(values).collect())),
        }
    }
}

/// Keeps the first row of the last statement that returns any.
struct First(Option<(Vec<String>, Vec<Value>)>);

impl rows::Sink for First {
    fn begin(&mut self, _: &[String]) -> Result<(), Problem> {
        self.0 = None;
        Ok(())
    }

    fn row(&mut self, columns: &[String], values: Vec<Value>) -> Result<(), Problem> {
        self.0.get_or_insert_with(|| (columns.to_vec(), values));
        Ok(())
    }
}

impl Operator for SqlCheck {
    const NAME: &'static str = "sql_check";
    const MAIN: Option<&'static str> = Some("query");
    const TEMPLATED: &'static [&'static str] = &["query", "parameters", "expect"];
    const CODE: &'static [&'static str] = &["query"];
    const FILES: &'static [&'static str] = &["file"];
    const CONNECTIONS: &'static [&'static str] = &["connection"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let text = text(Self::NAME, job, self.query, self.file.as_deref())?;
        let query = Query {
            operator: Self::NAME,
            connection: &self.connection,
            text: &text,
            parameters: &self.parameters,
            timeout: self.timeout.to_std(),
        };
        let check = Check::new(Self::NAME, self.expect)?;
        Ok(Step::Done(match check.look(&query, job)? {
            Ok(Found::Holds(row)) => Finished::success(Some(row)),
            Ok(Found::Not(why)) => Finished::failed(why),
            Err(problem) => Finished::failed(problem.to_string()),
        }))
    }
}

impl Operator for SqlSensor {
    const NAME: &'static str = "sql_sensor";
    const MAIN: Option<&'static str> = Some("query");
    const TEMPLATED: &'static [&'static str] = &["query", "parameters", "expect"];
    const CODE: &'static [&'static str] = &["query"];
    const FILES: &'static [&'static str] = &["file"];
    const CONNECTIONS: &'static [&'static str] = &["connection"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let text = text(Self::NAME, job, self.query, self.file.as_deref())?;
        let query = Query {
            operator: Self::NAME,
            connection: &self.connection,
            text: &text,
            parameters: &self.parameters,
            timeout: self.query_timeout.to_std(),
        };
        let check = Check::new(Self::NAME, self.expect)?;
        let wait = Wait {
            mode: self.mode,
            interval: self.interval,
            timeout: self.timeout,
            soft_fail: self.soft_fail,
        };
        wait.run(job, || {
            Ok(match check.look(&query, job)? {
                Ok(Found::Holds(row)) => Look::There(Some(row)),
                Ok(Found::Not(why)) => Look::NotYet(why),
                Err(problem @ (Problem::Connect(_) | Problem::Timeout)) => Look::NotYet(problem.to_string()),
                Err(problem @ (Problem::Query(_) | Problem::Rows(_))) => Look::Never(problem.to_string()),
            })
        })
    }
}
