//! PostgreSQL: the simple protocol, so that scripts of several statements work and every type has its text form.
//!
//! Values are bound with `PREPARE` and `EXECUTE`: the statement is parsed before a value is seen, and the server infers
//! each value's type from its place, so `where day = $1` takes a text for a date.

use std::net::IpAddr;

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Row as _, TypeInfo as _,
    ValueRef as _,
    postgres::{PgConnectOptions, PgRow, PgSslMode, PgValueRef},
};

use super::{
    database::{Problem, Query, explain},
    rows::Sink,
    script::Script,
};
use crate::{
    context::Connection,
    operator::{Failure, Job},
    policy::Policy,
};

/// Everything that can be decided before there is a connection.
pub(super) struct Plan<'a> {
    options: PgConnectOptions,
    host: String,
    port: u16,
    ssl: PgSslMode,
    policy: &'a Policy,
    /// SQL texts to run in order; only the last one's rows count.
    texts: Vec<String>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(query: &Query<'_>, job: &Job<'a>, connection: &Connection) -> Result<Self, Failure> {
        let host = connection.host.clone().ok_or_else(|| query.wrong_connection("has no host"))?;
        if host.starts_with(['/', '@', '.']) {
            return Err(query.wrong_connection("must name a host: socket folders aren't allowed"));
        }
        let port = connection.port.unwrap_or(5432);
        let mut ssl = PgSslMode::Prefer;
        for (key, value) in &connection.extra {
            ssl = match (key.as_str(), value.as_str()) {
                ("sslmode", Some("disable")) => PgSslMode::Disable,
                ("sslmode", Some("prefer")) => PgSslMode::Prefer,
                ("sslmode", Some("require")) => PgSslMode::Require,
                ("sslmode", Some("verify-full")) => PgSslMode::VerifyFull,
                ("sslmode", _) => {
                    let why = "has an unknown `extra.sslmode`: write `disable`, `prefer`, `require` or `verify-full`";
                    return Err(query.wrong_connection(why));
                }
                _ => {
                    let why = format!("has `extra.{key}`, which isn't known: `sslmode` is");
                    return Err(query.wrong_connection(why));
                }
            };
        }
        let timeout = query.timeout.as_millis().clamp(1, i32::MAX as u128);
        let user = connection.login.as_deref().unwrap_or("postgres");
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(port)
            .username(user)
            .database(connection.schema.as_deref().unwrap_or(user))
            .ssl_mode(ssl)
            .application_name("updraft")
            .options([
                ("statement_timeout", timeout.to_string().as_str()),
                ("standard_conforming_strings", "on"),
                ("TimeZone", "UTC"),
            ])
            .disable_statement_logging();
        if let Some(password) = &connection.password {
            options = options.password(password);
        }
        let texts = texts(query)?;
        Ok(Self { options, host, port, ssl, policy: &job.ctx.policy, texts })
    }

    pub(super) async fn run(self, sink: &mut dyn Sink) -> Result<u64, Problem> {
        let address = self.address().await?;
        // A certificate is for the name; otherwise the connection goes to the address that was judged.
        let host =
            if matches!(self.ssl, PgSslMode::VerifyFull) { self.host.clone() } else { address.to_string() };
        let mut connection =
            self.options.host(&host).connect().await.map_err(|e| Problem::Connect(explain(&e)))?;
        let mut changed = 0;
        for text in self.texts {
            let mut rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch_many(&mut connection).boxed();
            let mut columns: Option<Vec<String>> = None;
            while let Some(step) = rows.try_next().await.map_err(|e| problem(&e))? {
                match step {
                    Either::Left(done) => {
                        // A query's tag counts the rows that it returned.
                        if columns.take().is_none() {
                            changed += done.rows_affected();
                        }
                    }
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
        }
        // What was asked for is done; a goodbye that fails changes nothing.
        let _ = connection.close().await;
        Ok(changed)
    }

    async fn address(&self) -> Result<IpAddr, Problem> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|_| Problem::Connect("the host's name could not be resolved".to_owned()))?;
        let mut allowed = found.filter(|a| self.policy.permits(a.ip(), a.port()));
        let refused = "the host's address is not allowed: a platform admin can open it";
        allowed.next().map(|a| a.ip()).ok_or_else(|| Problem::Connect(refused.to_owned()))
    }
}

fn problem(error: &sqlx::Error) -> Problem {
    /// PostgreSQL's code for a statement that was cancelled, here by `statement_timeout`.
    const CANCELLED: &str = "57014";
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        Some(code) if code == CANCELLED => Problem::Timeout,
        _ => Problem::Query(explain(error)),
    }
}

fn texts(query: &Query<'_>) -> Result<Vec<String>, Failure> {
    if query.parameters.is_empty() {
        return Ok(vec![query.text.to_owned()]);
    }
    let script = Script::read(query.text, true);
    let [statement] = script.statements[..] else {
        return Err(query.invalid("`parameters` need a query of exactly one statement"));
    };
    let values: Result<Vec<_>, _> = query.parameters.iter().map(literal).collect();
    let values = values.map_err(|why| query.invalid(why))?.join(", ");
    Ok(vec![format!("prepare updraft_task as {statement}"), format!("execute updraft_task({values})")])
}

/// A value as a literal of unknown type, which the server gives the type of its place.
fn literal(value: &Value) -> Result<String, String> {
    let text = match value {
        Value::Null => return Ok("null".to_owned()),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.contains('\0') {
        return Err("a parameter contains a NUL character, which PostgreSQL can't store".to_owned());
    }
    // `standard_conforming_strings` is on, so a quote is the only character with a meaning.
    Ok(format!("'{}'", text.replace('\'', "''")))
}

fn values(row: &PgRow) -> Result<Vec<Value>, Problem> {
    (0..row.len())
        .map(|i| {
            let raw = row.try_get_raw(i).map_err(|e| Problem::Rows(explain(&e)))?;
            if raw.is_null() { Ok(Value::Null) } else { value(&raw) }
        })
        .collect()
}

fn value(raw: &PgValueRef<'_>) -> Result<Value, Problem> {
    let text = raw
        .as_str()
        .map_err(|_| Problem::Rows("a value isn't UTF-8 text: encode it in the query".to_owned()))?;
    Ok(typed(raw.type_info().name(), text))
}

/// A value's text form as JSON. What JSON can't hold exactly stays text.
fn typed(kind: &str, text: &str) -> Value {
    let as_text = || Value::from(text);
    match kind {
        "BOOL" => (text == "t").into(),
        "INT2" | "INT4" | "INT8" | "OID" => text.parse::<i64>().map_or_else(|_| as_text(), Value::from),
        "FLOAT4" | "FLOAT8" => number(text).unwrap_or_else(as_text),
        "NUMERIC" => {
            let short = if text.contains('.') { text.trim_end_matches('0') } else { text };
            let digits = short.bytes().filter(u8::is_ascii_digit).count();
            let whole = text.parse::<i64>().ok().map(Value::from);
            whole.or_else(|| if digits <= 15 { number(text) } else { None }).unwrap_or_else(as_text)
        }
        "JSON" | "JSONB" => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
        _ => as_text(),
    }
}

/// `NaN` and the infinities aren't JSON.
fn number(text: &str) -> Option<Value> {
    serde_json::Number::from_f64(text.parse().ok()?).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_literals_that_end_where_they_should() {
        let text = |value: Value| literal(&value).unwrap();
        assert_eq!(text(json!("'; drop table t; --")), "'''; drop table t; --'");
        assert_eq!(text(json!("\\'")), "'\\'''");
        assert_eq!(
            (text(json!(null)), text(json!(1.5)), text(json!(true))),
            ("null".into(), "'1.5'".into(), "'true'".into())
        );
        assert_eq!(text(json!({"a": "b'"})), "'{\"a\":\"b''\"}'");
        assert!(literal(&json!("a\0b")).is_err());
    }

    #[test]
    fn types_become_json_where_that_is_exact() {
        assert_eq!(typed("BOOL", "t"), json!(true));
        assert_eq!(typed("INT8", "-9223372036854775808"), json!(i64::MIN));
        assert_eq!(typed("FLOAT8", "0.1"), json!(0.1));
        assert_eq!(typed("FLOAT8", "NaN"), json!("NaN"));
        assert_eq!(typed("NUMERIC", "12"), json!(12));
        assert_eq!(typed("NUMERIC", "12.5000000000000000"), json!(12.5));
        assert_eq!(typed("NUMERIC", "12345678901234567890.5"), json!("12345678901234567890.5"));
        assert_eq!(typed("JSONB", "{\"a\": [1]}"), json!({"a": [1]}));
        assert_eq!(typed("DATE", "2026-01-01"), json!("2026-01-01"));
    }
}
