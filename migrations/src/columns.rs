//! Set-based statements: one text per database and one list of columns, whatever the number of rows.
//!
//! PostgreSQL gets each column as an array and joins them with `unnest`; SQLite gets all rows as one JSON array of
//! arrays and takes them apart with `json_each`, UUIDs as hexadecimal digits. The texts are constant, so both
//! databases keep them prepared.

use std::{borrow::Cow, fmt::Write as _};

use sqlx::{PgConnection, SqliteConnection};
use uuid::Uuid;

/// One statement in the words of both databases. Parameter `$1`, `$2`, ... of PostgreSQL is `value ->> 0`, `value ->> 1`, ... of
/// SQLite's `json_each(?1)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both {
    /// What it does, for messages.
    pub(crate) doing: &'static str,
    pub(crate) postgres: &'static str,
    pub(crate) sqlite: &'static str,
}

/// A connection in a transaction.
pub(crate) enum Tx<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

enum Column<'a> {
    Uuid(Vec<Option<Uuid>>),
    Text(Vec<Option<Cow<'a, str>>>),
    Int(Vec<Option<i32>>),
    Long(Vec<Option<i64>>),
    Bool(Vec<bool>),
}

/// The parameters of a set-based statement: a column for each, built from rows.
pub(crate) struct Columns<'a, R> {
    rows: &'a [R],
    columns: Vec<Column<'a>>,
}

impl<'a, R> Columns<'a, R> {
    pub(crate) fn of(rows: &'a [R]) -> Self {
        Self { rows, columns: Vec::with_capacity(28) }
    }

    fn with(mut self, column: Column<'a>) -> Self {
        self.columns.push(column);
        self
    }

    pub(crate) fn uuid(self, of: impl Fn(&'a R) -> Uuid) -> Self {
        self.uuid_or_null(|row| Some(of(row)))
    }

    pub(crate) fn uuid_or_null(self, of: impl Fn(&'a R) -> Option<Uuid>) -> Self {
        let column = Column::Uuid(self.rows.iter().map(of).collect());
        self.with(column)
    }

    /// A text that can't contain NUL: a checked name, a word of ours, or JSON.
    pub(crate) fn text(self, of: impl Fn(&'a R) -> &'a str) -> Self {
        self.text_or_null(|row| Some(of(row)))
    }

    /// As [`Self::text`].
    pub(crate) fn text_or_null(self, of: impl Fn(&'a R) -> Option<&'a str>) -> Self {
        let column = Column::Text(self.rows.iter().map(|row| of(row).map(Cow::Borrowed)).collect());
        self.with(column)
    }

    /// A text made for the statement, such as a document's JSON.
    pub(crate) fn made(self, of: impl Fn(&'a R) -> String) -> Self {
        self.made_or_null(|row| Some(of(row)))
    }

    /// As [`Self::made`].
    pub(crate) fn made_or_null(self, of: impl Fn(&'a R) -> Option<String>) -> Self {
        let column = Column::Text(self.rows.iter().map(|row| of(row).map(Cow::Owned)).collect());
        self.with(column)
    }

    /// A text that people or programs wrote. PostgreSQL can't store NUL, so it becomes U+FFFD on both databases.
    pub(crate) fn free(self, of: impl Fn(&'a R) -> &'a str) -> Self {
        self.free_or_null(|row| Some(of(row)))
    }

    /// As [`Self::free`].
    pub(crate) fn free_or_null(self, of: impl Fn(&'a R) -> Option<&'a str>) -> Self {
        let column = Column::Text(self.rows.iter().map(|row| of(row).map(without_nul)).collect());
        self.with(column)
    }

    pub(crate) fn int(self, of: impl Fn(&'a R) -> i32) -> Self {
        self.int_or_null(|row| Some(of(row)))
    }

    pub(crate) fn int_or_null(self, of: impl Fn(&'a R) -> Option<i32>) -> Self {
        let column = Column::Int(self.rows.iter().map(of).collect());
        self.with(column)
    }

    pub(crate) fn long(self, of: impl Fn(&'a R) -> i64) -> Self {
        self.long_or_null(|row| Some(of(row)))
    }

    pub(crate) fn long_or_null(self, of: impl Fn(&'a R) -> Option<i64>) -> Self {
        let column = Column::Long(self.rows.iter().map(of).collect());
        self.with(column)
    }

    pub(crate) fn bool(self, of: impl Fn(&'a R) -> bool) -> Self {
        let column = Column::Bool(self.rows.iter().map(of).collect());
        self.with(column)
    }

    /// Runs the statement and says how many rows it touched. No rows, no statement.
    pub(crate) async fn execute(self, tx: &mut Tx<'_>, both: &Both) -> Result<u64, sqlx::Error> {
        if self.rows.is_empty() {
            return Ok(0);
        }
        match tx {
            Tx::Sqlite(connection) => {
                let done = sqlx::query(both.sqlite).bind(self.to_json()).execute(&mut **connection).await?;
                Ok(done.rows_affected())
            }
            Tx::Postgres(connection) => {
                let done = self.bind(both.postgres).execute(&mut **connection).await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// The statement with each column as an array.
    pub(crate) fn bind(
        self,
        text: &'static str,
    ) -> sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments> {
        self.columns.into_iter().fold(sqlx::query(text), |query, column| match column {
            Column::Uuid(values) => query.bind(values),
            Column::Text(values) => query.bind(values),
            Column::Int(values) => query.bind(values),
            Column::Long(values) => query.bind(values),
            Column::Bool(values) => query.bind(values),
        })
    }

    /// All rows as one JSON array of arrays.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.rows.len() * self.columns.len() * 12);
        out.push('[');
        for n in 0..self.rows.len() {
            out.push_str(if n == 0 { "[" } else { ",[" });
            for (place, column) in self.columns.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                column.write(n, &mut out);
            }
            out.push(']');
        }
        out.push(']');
        out
    }
}

impl Column<'_> {
    fn write(&self, n: usize, out: &mut String) {
        let written = match self {
            Self::Uuid(values) => values[n].map(|uuid| write!(out, "\"{}\"", uuid.simple())),
            Self::Text(values) => {
                if let Some(text) = &values[n] {
                    quote(text, out);
                    return;
                }
                None
            }
            Self::Int(values) => values[n].map(|int| write!(out, "{int}")),
            Self::Long(values) => values[n].map(|long| write!(out, "{long}")),
            Self::Bool(values) => Some(write!(out, "{}", u8::from(values[n]))),
        };
        match written {
            Some(done) => done.expect("invariant: writing to a String can't fail"),
            None => out.push_str("null"),
        }
    }
}

/// JSON's way to write a text.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[start..at]);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            _ => write!(out, "\\u{byte:04x}").expect("invariant: writing to a String can't fail"),
        }
        start = at + 1;
    }
    out.push_str(&text[start..]);
    out.push('"');
}

/// The text with U+FFFD for each NUL.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A counter as both databases store it.
pub(crate) fn int(counter: u32) -> i32 {
    i32::try_from(counter).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_become_json(texts in proptest::collection::vec(any::<Option<String>>(), 0..5), long in any::<i64>()) {
            let columns = Columns::of(&texts).text_or_null(|t| t.as_deref()).long(|_| long).bool(Option::is_some);
            let read: serde_json::Value = serde_json::from_str(&columns.to_json()).unwrap();
            let expected: Vec<_> = texts.iter().map(|t| serde_json::json!([t, long, i32::from(t.is_some())])).collect();
            prop_assert_eq!(read, serde_json::Value::Array(expected));
        }
    }
}
