//! Where the rows of a query go: into the result, or into a file.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use serde_json::{Map, Value, json};

use super::database::Problem;

/// The largest result, in bytes of JSON.
const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// The largest file, in bytes.
const SAVED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Takes rows, one after the other.
pub(super) trait Sink {
    /// Another statement's rows follow.
    fn begin(&mut self, columns: &[String]) -> Result<(), Problem>;
    /// One row.
    fn row(&mut self, columns: &[String], values: Vec<Value>) -> Result<(), Problem>;
}

/// Keeps the rows of the last statement that has any.
pub(super) struct Kept {
    pub(super) rows: Vec<Value>,
    bytes: usize,
    limit: u32,
}

impl Kept {
    pub(super) fn new(limit: u32) -> Self {
        Self { rows: Vec::new(), bytes: 0, limit }
    }
}

impl Sink for Kept {
    fn begin(&mut self, columns: &[String]) -> Result<(), Problem> {
        self.rows.clear();
        self.bytes = 0;
        let mut seen = std::collections::BTreeSet::new();
        match columns.iter().find(|name| !seen.insert(*name)) {
            Some(twice) => Err(Problem::Rows(format!(
                "two columns are named `{twice}`: give one of them another name with `as`"
            ))),
            None => Ok(()),
        }
    }

    fn row(&mut self, columns: &[String], values: Vec<Value>) -> Result<(), Problem> {
        if self.rows.len() >= self.limit as usize {
            let limit = self.limit;
            return Err(Problem::Rows(format!(
                "the query returned more than {limit} rows: raise `limit`, or use `save`"
            )));
        }
        let row: Map<String, Value> = columns.iter().cloned().zip(values).collect();
        let row = Value::Object(row);
        self.bytes += row.to_string().len() + 1;
        if self.bytes > RESULT_BYTES_MAX {
            let why =
                format!("the rows are larger than {RESULT_BYTES_MAX} bytes: select less, or use `save`");
            return Err(Problem::Rows(why));
        }
        self.rows.push(row);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Lines,
}

/// Writes the rows to a file: CSV with a header, or one JSON object a line.
pub(super) struct Saved {
    path: PathBuf,
    file: BufWriter<File>,
    format: Format,
    begun: bool,
    rows: u64,
    bytes: u64,
}

impl Saved {
    /// `None` if the path's ending names no format.
    pub(super) fn create(path: PathBuf) -> Option<Result<Self, std::io::Error>> {
        let format = match path.extension()?.to_str()? {
            "csv" => Format::Csv,
            "jsonl" => Format::Lines,
            _ => return None,
        };
        Some(File::create(&path).map(|file| Self {
            path,
            file: BufWriter::new(file),
            format,
            begun: false,
            rows: 0,
            bytes: 0,
        }))
    }

    /// Completes the file; the result tells where it is.
    pub(super) fn finish(mut self) -> Result<Value, Problem> {
        self.file.flush().map_err(|e| Problem::Rows(format!("failed to write the file: {e}")))?;
        Ok(json!({"path": self.path, "rows": self.rows, "bytes": self.bytes}))
    }

    fn write(&mut self, line: &str) -> Result<(), Problem> {
        self.bytes += line.len() as u64;
        if self.bytes > SAVED_BYTES_MAX {
            return Err(Problem::Rows(format!("the file would be larger than {SAVED_BYTES_MAX} bytes")));
        }
        self.file
            .write_all(line.as_bytes())
            .map_err(|e| Problem::Rows(format!("failed to write the file: {e}")))
    }
}

impl Sink for Saved {
    fn begin(&mut self, columns: &[String]) -> Result<(), Problem> {
        if std::mem::replace(&mut self.begun, true) {
            return Err(Problem::Rows("with `save` only one statement may return rows".to_owned()));
        }
        if self.format == Format::Csv {
            self.write(&csv(columns.iter().map(|name| Value::from(name.as_str()))))?;
        }
        Ok(())
    }

    fn row(&mut self, columns: &[String], values: Vec<Value>) -> Result<(), Problem> {
        self.rows += 1;
        match self.format {
            Format::Csv => self.write(&csv(values.into_iter())),
            Format::Lines => {
                let row: Map<String, Value> = columns.iter().cloned().zip(values).collect();
                self.write(&format!("{}\n", Value::Object(row)))
            }
        }
    }
}

/// One line of CSV (RFC 4180, but lines end with a line feed); null is nothing.
fn csv(values: impl Iterator<Item = Value>) -> String {
    let mut line = String::new();
    for (i, value) in values.enumerate() {
        if i > 0 {
            line.push(',');
        }
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        if text.contains([',', '"', '\n', '\r']) {
            line.push('"');
            line.push_str(&text.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&text);
        }
    }
    line.push('\n');
    line
}
