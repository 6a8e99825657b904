//! `--conn name=URL`: a connection as one text.

use std::path::{Path, PathBuf};

use plugins::context::Connection;
use serde_json::{Map, Value};

/// The URL of a database file that lives as long as the run.
pub const TEMPORARY: &str = "sqlite::temporary:";

/// A connection for a test run.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The connection.
    pub connection: Connection,
    /// The folder that must be open to tasks: where a SQLite file lies.
    pub data_dir: Option<PathBuf>,
}

/// Why a text isn't a connection, as a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

fn wrong<T>(why: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(why.into()))
}

/// Reads `sqlite:PATH`, [`TEMPORARY`] or `scheme://[user[:password]@]host[:port][/database][?key=value]`. User, password,
/// database and values may have `%XX` in them. A SQLite file lies in `temporary` or is relative to the present folder.
pub fn parse(name: &str, url: &str, temporary: &Path) -> Result<Given, Invalid> {
    if url == TEMPORARY {
        return Ok(sqlite(&temporary.join(format!("{name}.db")), temporary));
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = Path::new(path.split('?').next().unwrap_or(path));
        let Some(file) = path.file_name() else { return wrong("names no file") };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = match folder.canonicalize() {
            Ok(folder) => folder,
            Err(error) => {
                return wrong(format!("names a file in {}, which can't be used: {error}", folder.display()));
            }
        };
        return Ok(sqlite(&folder.join(file), &folder));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong("isn't a URL such as `postgres://user@host/database` or `sqlite:data.db`");
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = address.rsplit_once('@').map_or((None, address), |(user, host)| (Some(user), host));
    let (login, password) =
        match user.map(|user| user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)))) {
            Some((login, password)) => (Some(decode(login)?), password.map(decode).transpose()?),
            None => (None, None),
        };
    let (host, port) = match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => return wrong(format!("has a port that isn't a number: `{port}`")),
        },
        None => (host, None),
    };
    if host.is_empty() {
        return wrong("names no host");
    }
    let mut extra = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        extra.insert(decode(key)?, Value::String(decode(value)?));
    }
    let database = decode(path)?;
    let (conn_type, schema) = match scheme {
        "postgresql" | "postgres" => ("postgres", (!database.is_empty()).then_some(database)),
        "http" | "https" => ("http", Some(scheme.to_owned())),
        other => (other, (!database.is_empty()).then_some(database)),
    };
    let connection = Connection {
        conn_type: conn_type.to_owned(),
        host: Some(host.to_owned()),
        port,
        schema,
        login,
        password,
        extra,
    };
    Ok(Given { connection, data_dir: None })
}

fn sqlite(path: &Path, folder: &Path) -> Given {
    let connection = Connection {
        conn_type: "sqlite".to_owned(),
        host: None,
        port: None,
        schema: Some(path.display().to_string()),
        login: None,
        password: None,
        extra: Map::new(),
    };
    Given { connection, data_dir: Some(folder.to_owned()) }
}

fn decode(text: &str) -> Result<String, Invalid> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let Some(byte) = byte else {
                    return wrong(format!("has a `%` without two digits: `{text}`"));
                };
                bytes.push(byte);
                rest = after;
            }
            (b'%', _) => return wrong(format!("has a `%` without two digits: `{text}`")),
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| Invalid("isn't UTF-8 once its `%XX` are read".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_url_says_everything_about_a_connection() {
        let given =
            parse("w", "postgresql://me:p%40ss@db.example:6432/sales?sslmode=require", Path::new("/t"))
                .unwrap();
        let connection = given.connection;
        assert_eq!(
            (connection.conn_type.as_str(), connection.host.as_deref()),
            ("postgres", Some("db.example"))
        );
        assert_eq!((connection.port, connection.schema.as_deref()), (Some(6432), Some("sales")));
        assert_eq!((connection.login.as_deref(), connection.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(connection.extra["sslmode"], json!("require"));
        let web = parse("w", "https://api.example", Path::new("/t")).unwrap().connection;
        assert_eq!((web.conn_type.as_str(), web.schema.as_deref(), web.port), ("http", Some("https"), None));
    }

    #[test]
    fn sqlite_files_open_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let given = parse("w", &format!("sqlite:{}/a.db", root.display()), Path::new("/t")).unwrap();
        assert_eq!(given.data_dir.as_deref(), Some(root.as_path()));
        assert_eq!(given.connection.schema, Some(root.join("a.db").display().to_string()));
        let scratch = parse("w", TEMPORARY, Path::new("/t")).unwrap();
        assert_eq!(scratch.connection.schema.as_deref(), Some("/t/w.db"));
    }

    #[test]
    fn what_cant_be_read_says_why() {
        for (url, why) in [
            ("warehouse", "isn't a URL"),
            ("postgres://h:x/d", "port"),
            ("postgres:///d", "no host"),
            ("postgres://u%4@h/d", "two digits"),
            ("sqlite:/no/such/folder/a.db", "/no/such/folder"),
        ] {
            let error = parse("w", url, Path::new("/t")).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}
