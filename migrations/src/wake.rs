//! Hints that there is something to look at: a request in the inbox, outcomes of a commit, a shard without an owner.
//!
//! A hint may be lost or come for nothing; whoever waits also looks once a second. Open the [`Ear`] before you look, so
//! that nothing falls between. PostgreSQL carries hints by NOTIFY, on a connection of its own and never in a
//! transaction, where it would take a lock of the whole server. Within one process, SQLite needs no carrier.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sqlx::postgres::PgListener;
use tokio::sync::{Mutex, watch};

use crate::{
    db::Db,
    error::{Doing as _, Error},
};

/// What there is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Requests in the inbox: for the owners of shards.
    Inbox,
    /// Outcomes of requests: for those who wait for one.
    Outcomes,
    /// A shard that was given back: for those who stand by.
    Lease,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Inbox, Self::Outcomes, Self::Lease];

    const fn channel(self) -> &'static str {
        match self {
            Self::Inbox => "updraft_inbox",
            Self::Outcomes => "updraft_outcomes",
            Self::Lease => "updraft_lease",
        }
    }
}

/// What the clones of a [`Db`] share to carry hints.
#[derive(Debug, Clone)]
pub(crate) struct Hints(Arc<[Hint; 3]>);

#[derive(Debug)]
struct Hint {
    /// Counts the hints within this process.
    here: watch::Sender<u64>,
    asked: AtomicU64,
    sent: Mutex<u64>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Topic::ALL.map(|_| Hint {
            here: watch::Sender::new(0),
            asked: AtomicU64::new(0),
            sent: Mutex::new(0),
        })))
    }

    fn of(&self, topic: Topic) -> &Hint {
        &self.0[topic as usize]
    }
}

/// Gives a hint, after the commit that it is about. Many at once become one.
pub async fn send(db: &Db, topic: Topic) -> Result<(), Error> {
    let hint = db.hints().of(topic);
    let Db::Postgres(postgres) = db else {
        hint.here.send_modify(|count| *count += 1);
        return Ok(());
    };
    let ours = hint.asked.fetch_add(1, Ordering::SeqCst) + 1;
    let mut sent = hint.sent.lock().await;
    // While we waited, somebody sent a hint that began after we had asked: it tells of our commit, too.
    if *sent >= ours {
        return Ok(());
    }
    let upto = hint.asked.load(Ordering::SeqCst);
    let query = sqlx::query("SELECT pg_notify($1, '')").bind(topic.channel());
    query.execute(&postgres.pool).await.doing("wake those who wait")?;
    *sent = upto;
    Ok(())
}

/// Hears hints.
#[derive(Debug)]
pub struct Ear(Kind);

#[derive(Debug)]
enum Kind {
    Here(watch::Receiver<u64>),
    Server(Box<PgListener>),
}

impl Ear {
    /// Hears hints about a topic from now on.
    pub async fn open(db: &Db, topic: Topic) -> Result<Self, Error> {
        match db {
            Db::Sqlite(_) => Ok(Self(Kind::Here(db.hints().of(topic).here.subscribe()))),
            Db::Postgres(postgres) => {
                let doing = "listen for hints";
                let mut listener = PgListener::connect_with(&postgres.pool).await.doing(doing)?;
                listener.listen(topic.channel()).await.doing(doing)?;
                Ok(Self(Kind::Server(Box::new(listener))))
            }
        }
    }

    /// Waits for a hint. After an error, look, wait a moment and call again: the connection is made again.
    pub async fn heard(&mut self) -> Result<(), Error> {
        let doing = "wait for a hint";
        match &mut self.0 {
            // The sender lives in the Db; if it is gone, so is everything else.
            Kind::Here(hints) => hints.changed().await.map_err(|_| sqlx::Error::PoolClosed).doing(doing),
            // None is a connection that broke and will be made again: a hint may be lost, so it counts as one.
            Kind::Server(listener) => listener.try_recv().await.map(drop).doing(doing),
        }
    }
}
