//! The broker: one connection for what comes in and one for what goes out, topology, publishing with confirms.
//!
//! | queue | kind | who reads it |
//! | --- | --- | --- |
//! | `updraft.worker.<worker>` | classic, transient, expires with the worker | that worker |
//! | `updraft.shard.<shard>` | quorum | the owner of the shard |
//! | `updraft.dead` | classic, durable, bounded | people: what could not be parsed |
//!
//! A connection that breaks ends the session, and its owner opens the next one, with queues and consumers. The library's
//! own recovery is left off: it tells nobody when a connection is lost, and who waits for it waits for ever once it gives
//! up. So it is always known whether anything can be heard, and what isn't acknowledged is numbered anew.

use std::{net::IpAddr, str::FromStr as _, time::Duration};

use dags::ids::{ShardId, WorkerId};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
    uri::{AMQPScheme, AMQPUri},
};

use crate::clock;

/// Where what can't be parsed goes.
const DEAD: &str = "updraft.dead";
/// The most messages that are kept there; older ones make room.
const DEAD_MAX: i64 = 10_000;
/// A worker's queue goes this long after the worker stopped reading it.
const WORKER_QUEUE_LIFE: Duration = Duration::from_mins(2);
/// How often a report may be delivered before it counts as poison.
const DELIVERIES_MAX: i64 = 50;
/// Seconds between AMQP's own heartbeats: twice as long, and a dead connection is noticed.
const HEARTBEAT_S: u16 = 5;
/// The longest frame. The library keeps room for 64 of them per connection; a message may be many of them.
const FRAME_BYTES: u32 = 16 * 1024;
/// Milliseconds that a connection may take to be made.
const CONNECT_MS: u64 = 5_000;
/// How long a session may take to be opened, and to be closed: whoever is silent isn't waited for.
const OPEN_MAX: Duration = Duration::from_secs(10);
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether the session is whole.
const LOOK: Duration = Duration::from_secs(1);

/// Why a session with the broker ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL.
    #[error("can't use the broker's URL: write `amqp://USER:PASSWORD@HOST:PORT/VHOST`, or `amqps` for TLS")]
    Url,
    /// What is sent could be read on the way.
    #[error(
        "the broker is on another machine, so its URL must begin with `amqps://`: ids and proofs would be in the clear"
    )]
    Plain,
    /// The broker, or the way to it.
    #[error("the broker: {0}")]
    Amqp(#[from] lapin::Error),
    /// The consumer was cancelled, or a connection or channel closed.
    #[error("the session with the broker broke off")]
    Closed,
    /// Nobody answers.
    #[error("the broker didn't answer within {} s", OPEN_MAX.as_secs())]
    Silent,
}

/// What is in the broker's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Messages to the owner of the shard; none if there is no such queue yet.
    pub reports: u32,
    /// Messages that could not be read.
    pub dead: u32,
}

/// Looks at the broker without changing anything: a queue that isn't there is empty.
pub async fn examine(url: &str, shard: ShardId) -> Result<Queues, Error> {
    let connection = connect(uri(url)?, "updraft doctor").await?;
    let (mut reports, mut dead) = (0, 0);
    for (name, count) in [(shard_queue(shard), &mut reports), (DEAD.to_owned(), &mut dead)] {
        // A channel that asks for a queue that isn't there is closed by the broker.
        let channel = connection.create_channel().await?;
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        if let Ok(queue) = channel.queue_declare(name.as_str().into(), look, FieldTable::default()).await {
            *count = queue.message_count();
        }
    }
    connection.close(200, "done".into()).await?;
    Ok(Queues { reports, dead })
}

/// The queue of a worker.
pub(crate) fn worker_queue(worker: WorkerId) -> String {
    format!("updraft.worker.{worker}")
}

/// The queue of a shard's owner.
pub(crate) fn shard_queue(shard: ShardId) -> String {
    format!("updraft.shard.{shard}")
}

/// Checks a URL without connecting.
pub fn check_url(url: &str) -> Result<(), Error> {
    uri(url).map(drop)
}

fn uri(url: &str) -> Result<AMQPUri, Error> {
    let mut uri = AMQPUri::from_str(url).map_err(|_| Error::Url)?;
    if uri.scheme == AMQPScheme::AMQP && !is_loopback(&uri.authority.host) {
        return Err(Error::Plain);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    uri.query.frame_max.get_or_insert(FRAME_BYTES);
    uri.query.connection_timeout.get_or_insert(CONNECT_MS);
    Ok(uri)
}

/// Whether a host of a URL is this machine, whatever a resolver says.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address: Result<IpAddr, _> = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    incoming: Connection,
    outgoing: Connection,
    /// For what comes in.
    pub(crate) consume: Channel,
    /// For what goes out, with confirms.
    pub(crate) publish: Channel,
}

impl Session {
    /// Connects twice: a consumer must not stop because the broker holds up a publisher.
    pub(crate) async fn open(url: &str, name: &str) -> Result<Self, Error> {
        let opening = tokio::time::timeout(OPEN_MAX, Self::open_whole(url, name));
        opening.await.unwrap_or(Err(Error::Silent))
    }

    async fn open_whole(url: &str, name: &str) -> Result<Self, Error> {
        let uri = uri(url)?;
        let incoming = connect(uri.clone(), &format!("{name} in")).await?;
        let outgoing = connect(uri, &format!("{name} out")).await?;
        let consume = incoming.create_channel().await?;
        let publish = outgoing.create_channel().await?;
        publish.confirm_select(ConfirmSelectOptions::default()).await?;
        let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        consume.exchange_declare(DEAD.into(), ExchangeKind::Fanout, exchange, FieldTable::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(DEAD_MAX));
        consume.queue_declare(DEAD.into(), durable(), arguments).await?;
        let bind = QueueBindOptions::default();
        consume.queue_bind(DEAD.into(), DEAD.into(), "".into(), bind, FieldTable::default()).await?;
        Ok(Self { incoming, outgoing, consume, publish })
    }

    /// Reads a worker's queue, which is made if it isn't there.
    pub(crate) async fn read_worker(&self, worker: WorkerId, prefetch: u16) -> Result<Consumer, Error> {
        let queue = worker_queue(worker);
        let mut arguments = FieldTable::default();
        let life = i64::try_from(WORKER_QUEUE_LIFE.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(life));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(DEAD.into()));
        self.consume.queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), arguments).await?;
        self.read(&queue, prefetch, FieldTable::default()).await
    }

    /// Reads a shard's queue, which is made if it isn't there. Whoever has the highest epoch gets all of it: a former
    /// owner that is paused would keep its share until the broker gives it up.
    pub(crate) async fn read_shard(
        &self,
        shard: ShardId,
        epoch: u64,
        prefetch: u16,
    ) -> Result<Consumer, Error> {
        let queue = shard_queue(shard);
        declare_shard(&self.consume, &queue).await?;
        let mut arguments = FieldTable::default();
        let priority = i32::try_from(epoch).unwrap_or(i32::MAX);
        arguments.insert("x-priority".into(), AMQPValue::LongInt(priority));
        self.read(&queue, prefetch, arguments).await
    }

    /// Makes a shard's queue if it isn't there, so that what is sent there arrives.
    pub(crate) async fn ensure_shard(&self, shard: ShardId) -> Result<(), Error> {
        declare_shard(&self.consume, &shard_queue(shard)).await
    }

    async fn read(&self, queue: &str, prefetch: u16, arguments: FieldTable) -> Result<Consumer, Error> {
        self.consume.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        Ok(self.consume.basic_consume(queue.into(), "".into(), options, arguments).await?)
    }

    /// Waits until a part of the session is broken: whoever waits for the broker then waits for nothing.
    pub(crate) async fn broken(&self) -> Error {
        loop {
            let connections =
                [&self.incoming, &self.outgoing].map(|connection| connection.status().connected());
            let channels = [&self.consume, &self.publish].map(|channel| channel.status().connected());
            if connections.into_iter().chain(channels).any(|whole| !whole) {
                return Error::Closed;
            }
            clock::sleep(LOOK).await;
        }
    }

    /// Ends the session in order, if the broker listens.
    pub(crate) async fn close(self) {
        let close = |connection: Connection| async move {
            if !connection.status().connected() {
                return;
            }
            match tokio::time::timeout(CLOSE_MAX, connection.close(200, "bye".into())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the broker's connection was gone before it was closed");
                }
                Err(_) => tracing::debug!("the broker doesn't say goodbye"),
            }
        };
        tokio::join!(close(self.incoming), close(self.outgoing));
    }
}

async fn connect(uri: AMQPUri, name: &str) -> Result<Connection, Error> {
    // Without tries of its own: whoever opens the session tries again.
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    Ok(Connection::connect_uri(uri, properties).await?)
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

async fn declare_shard(channel: &Channel, queue: &str) -> Result<(), Error> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(DEAD.into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERIES_MAX));
    channel.queue_declare(queue.into(), durable(), arguments).await?;
    Ok(())
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The broker has it.
    Stored,
    /// There is no such queue, or the broker refused.
    Nowhere,
}

/// Publishes a message and waits until the broker says that it has it.
pub(crate) async fn publish(
    channel: &Channel,
    queue: &str,
    payload: &[u8],
    keep: bool,
) -> Result<Sent, lapin::Error> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(1 + u8::from(keep));
    let confirm = channel.basic_publish("".into(), queue.into(), options, payload, properties).await?;
    Ok(match confirm.await? {
        Confirmation::Ack(None) => Sent::Stored,
        Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => Sent::Nowhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_short_heartbeats_unless_it_says_otherwise() {
        assert_eq!(uri("amqps://u:p@h/v").unwrap().query.heartbeat, Some(HEARTBEAT_S));
        assert_eq!(uri("amqps://u:p@h/v?heartbeat=9").unwrap().query.heartbeat, Some(9));
        assert!(matches!(check_url("http://h"), Err(Error::Url)));
    }

    #[test]
    fn beyond_this_machine_there_must_be_tls() {
        for plain in ["amqp://u:p@h/v", "amqp://u:p@10.0.0.1:5672/v", "amqp://localhost.example"] {
            assert!(matches!(check_url(plain), Err(Error::Plain)), "{plain}");
        }
        for fine in ["amqp://localhost/v", "amqp://u:p@127.0.0.1:5672/v", "amqps://u:p@h/v"] {
            assert!(check_url(fine).is_ok(), "{fine}");
        }
    }
}
