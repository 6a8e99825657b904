//! Connections: how each database is opened, and which connection reads and which writes.

use std::{io, str::FromStr as _, sync::Arc, time::Duration};

use dags::time::Timestamp;
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    SqlxPostgresConnector, SqlxSqliteConnector, Statement, TransactionOptions, TransactionTrait as _,
};
use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    error::{Doing as _, Error},
    wake::Hints,
};

/// Connections for reading a SQLite file; WAL lets them run beside the one that writes.
const SQLITE_READERS: u32 = 4;
/// How long a SQLite connection waits for another process that writes.
const SQLITE_BUSY: Duration = Duration::from_secs(5);
/// Pages of the WAL after which SQLite copies it back: 32 MiB instead of 4, so that a burst of commits isn't held up.
const SQLITE_CHECKPOINT_PAGES: &str = "8192";
/// How long a connection to PostgreSQL may have been idle and still counts as whole without being asked.
const POSTGRES_TRUSTED: Duration = Duration::from_secs(5);
/// Connections to PostgreSQL of one process that serves requests.
const POSTGRES_SERVICE_CONNECTIONS: u32 = 16;
/// Connections to PostgreSQL that an owner has beside the one that commits; each open [`crate::wake::Ear`] keeps one.
const POSTGRES_OWNER_CONNECTIONS: u32 = 8;
/// How long to wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may take to let us in.
const REACH_MAX: Duration = Duration::from_secs(5);

/// What the connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The owner of a shard. A statement that waits 2 s for a lock fails, and the server ends a transaction that was
    /// left open for 2 s: a paused owner must not hold up its successor.
    Owner,
    /// Everyone who serves requests. A query may take 5 s.
    Service,
}

/// A database.
///
/// Cloning is cheap and shares the connections. One process opens a SQLite file once: it has one writing connection.
#[derive(Debug, Clone)]
pub enum Db {
    /// An embedded file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Postgres),
}

/// An open SQLite file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    pub(crate) writer: SqlitePool,
    hints: Hints,
    write: DatabaseConnection,
    read: DatabaseConnection,
}

/// A PostgreSQL server.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub(crate) pool: PgPool,
    pub(crate) options: Arc<PgConnectOptions>,
    hints: Hints,
    both: DatabaseConnection,
    /// The URL without its password.
    shown: Arc<str>,
}

impl Db {
    /// Opens `sqlite:PATH` (made if absent, readable by us alone) or `postgres://user@host/database`.
    ///
    /// Makes no schema: see [`crate::migrate::up`].
    pub async fn connect(url: &str, role: Role) -> Result<Self, Error> {
        let db = Self::open(url, role).await?;
        if let Self::Postgres(postgres) = &db {
            postgres.pool.acquire().await.map(drop).map_err(|source| postgres.closed(source))?;
        }
        Ok(db)
    }

    /// As [`Db::connect`], but a server isn't asked for anything yet: it needn't be there. See [`Db::reach`].
    pub async fn open(url: &str, role: Role) -> Result<Self, Error> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Self::sqlite(path).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self::postgres(url, role)
        } else {
            Err(Error::Url { url: redacted(url) })
        }
    }

    async fn sqlite(path: &str) -> Result<Self, Error> {
        if path.is_empty() || path.contains(":memory:") {
            return Err(Error::Url { url: format!("sqlite:{path}") });
        }
        make_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(SQLITE_BUSY)
            .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)
            .pragma("cache_size", "-65536")
            .pragma("temp_store", "memory");
        let open = |source| Error::Open { url: format!("sqlite:{path}"), source };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    // SQLite ends a transaction itself whose commit meets a full disk. sqlx then counts one that is open
                    // for ever, so that none can begin any more.
                    Ok(!connection.is_in_transaction())
                })
            })
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await
            .map_err(open)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(SQLITE_READERS)
            .test_before_acquire(false)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.pragma("query_only", "on"))
            .await
            .map_err(open)?;
        Ok(Self::Sqlite(Sqlite {
            write: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer.clone()),
            read: SqlxSqliteConnector::from_sqlx_sqlite_pool(readers),
            hints: Hints::new(),
            writer,
        }))
    }

    fn postgres(url: &str, role: Role) -> Result<Self, Error> {
        let options =
            PgConnectOptions::from_str(url).map_err(|source| Error::BadUrl { url: redacted(url), source })?;
        let (options, connections) = match role {
            Role::Owner => (owner_options(options), POSTGRES_OWNER_CONNECTIONS),
            Role::Service => (
                options.application_name("updraft service").options([
                    ("statement_timeout", "5s"),
                    ("lock_timeout", "5s"),
                    ("idle_in_transaction_session_timeout", "10s"),
                ]),
                POSTGRES_SERVICE_CONNECTIONS,
            ),
        };
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // Asking before each use costs as much as the statement itself.
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    if metadata.idle_for > POSTGRES_TRUSTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone());
        Ok(Self::Postgres(Postgres {
            both: SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone()),
            options: Arc::new(options),
            hints: Hints::new(),
            shown: redacted(url).into(),
            pool,
        }))
    }

    /// Asks once whether the server is there and lets us in, on a connection of its own. [`Error::is_away`] tells whether it
    /// may be there later. A SQLite file is there once it is open.
    pub async fn reach(&self) -> Result<(), Error> {
        let Self::Postgres(postgres) = self else { return Ok(()) };
        let asking = async { PgConnection::connect_with(&postgres.options).await?.close().await };
        let slow = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s").into());
        let asked = tokio::time::timeout(REACH_MAX, asking).await.unwrap_or_else(slow);
        asked.map_err(|source| postgres.closed(source))
    }

    /// For statements that change something.
    pub(crate) const fn write(&self) -> &DatabaseConnection {
        match self {
            Self::Sqlite(sqlite) => &sqlite.write,
            Self::Postgres(postgres) => &postgres.both,
        }
    }

    /// For statements that only read.
    pub(crate) const fn read(&self) -> &DatabaseConnection {
        match self {
            Self::Sqlite(sqlite) => &sqlite.read,
            Self::Postgres(postgres) => &postgres.both,
        }
    }

    pub(crate) const fn hints(&self) -> &Hints {
        match self {
            Self::Sqlite(sqlite) => &sqlite.hints,
            Self::Postgres(postgres) => &postgres.hints,
        }
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let text = self.pick(
            "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now",
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now",
        );
        let row = self
            .read()
            .query_one_raw(Statement::from_string(self.read().get_database_backend(), text))
            .await
            .doing("read the database's clock")?
            .ok_or_else(|| Error::corrupt("shard", "the database has no clock"))?;
        Ok(Timestamp(row.try_get("", "now").doing("read the database's clock")?))
    }

    /// Begins a transaction that writes. SQLite takes its write lock at once: one that reads first could not get it later.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.write().begin_with_options(options).await
    }

    /// The text for this database.
    pub(crate) const fn pick<'a>(&self, sqlite: &'a str, postgres: &'a str) -> &'a str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    /// Connections that are in use, and those that wait for use.
    pub fn connections(&self) -> (u32, u32) {
        let (size, idle) = match self {
            Self::Sqlite(sqlite) => {
                let readers = sqlite.read.get_sqlite_connection_pool();
                (sqlite.writer.size() + readers.size(), sqlite.writer.num_idle() + readers.num_idle())
            }
            Self::Postgres(postgres) => (postgres.pool.size(), postgres.pool.num_idle()),
        };
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
        (size - idle, idle)
    }

    /// Ends all connections; statements under way are finished first.
    pub async fn close(self) {
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.read.get_sqlite_connection_pool().close().await;
                sqlite.writer.close().await;
            }
            Self::Postgres(postgres) => postgres.pool.close().await,
        }
    }
}

impl Postgres {
    fn closed(&self, source: sqlx::Error) -> Error {
        Error::Open { url: self.shown.as_ref().to_owned(), source }
    }
}

/// What an owner's connections need, whatever they are used for.
pub(crate) fn owner_options(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("updraft owner").options([
        ("lock_timeout", "2s"),
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "2s"),
        ("jit", "off"),
    ])
}

/// The URL of a database without its password and parameters, for messages.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            let host = host.split_once('?').map_or(host, |(host, _)| host);
            format!("{scheme}://{user}@{host}")
        }
        None => format!("{scheme}://{}", rest.split_once('?').map_or(rest, |(host, _)| host)),
    }
}

/// Makes the file before SQLite does, so that nobody else may ever read it; its WAL takes over the file's mode.
fn make_private(path: &str) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let failed = |source| Error::File { path: path.to_owned(), source };
    if let Some(folder) = std::path::Path::new(path).parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let file = std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    file.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redacted("postgres://u:p@ss@h:1/d?password=x"), "postgres://u@h:1/d");
        assert_eq!(redacted("postgres://h/d?password=x"), "postgres://h/d");
        assert_eq!(redacted("mysql:d"), "mysql:d");
    }
}
