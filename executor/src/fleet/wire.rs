//! What the owner of a shard and its workers say to each other through the broker, as JSON.
//!
//! Down: orders, numbered per worker and owner. Up: reports and heartbeats, in the order in which they were made, so that a
//! heartbeat knows of everything that was reported before it.

use dags::{
    ids::{DispatchId, WorkerId},
    time::Span,
};
use engine::{dispatch::Report, execution::Ticket, fleet::HeldThere};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The number of this protocol.
pub(crate) const FORMAT: u32 = 2;

/// The longest message that is read.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A message to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Down {
    pub(crate) format: u32,
    /// Which message it is.
    pub(crate) mark: Mark,
    pub(crate) orders: Vec<Order>,
}

/// A place in the orders of owners: the owner's epoch, and the message's number in it, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) epoch: u64,
    pub(crate) n: u64,
}

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Ask the task API for this dispatch and run it, once.
    Start(Ticket),
    /// End all members; what never came must never start.
    Kill { dispatch: DispatchId, members: u32, grace: Span, reason: String, proof: String },
    /// The end of this member is durable.
    Confirm { dispatch: DispatchId, member: u32 },
    /// Send a heartbeat at once.
    Sync,
}

/// A message of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Up {
    pub(crate) format: u32,
    pub(crate) worker: WorkerId,
    /// What the worker got when it registered: that it is this one.
    pub(crate) proof: String,
    pub(crate) news: News,
}

/// A message of a shard's owner to itself: when it comes back, everything that was sent before has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Echo {
    pub(crate) format: u32,
    pub(crate) echo: Mark,
}

/// What lies in a shard's queue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Incoming {
    Up(Up),
    Echo(Mark),
}

/// What a worker has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum News {
    Reports(Vec<Proved>),
    Beat(Beat),
}

/// A report with the proof that its dispatch was sent to this worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proved {
    pub(crate) report: Report,
    pub(crate) proof: String,
}

/// A heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Beat {
    /// Its number: one that isn't newer than another that was seen says nothing, it was delayed or came again.
    pub(crate) n: u64,
    /// The newest orders that it knows.
    pub(crate) seen: Mark,
    /// Everything that isn't confirmed.
    pub(crate) held: Vec<HeldThere>,
    /// Whether it takes nothing new.
    pub(crate) draining: bool,
    /// Whether it ends now.
    pub(crate) leaving: bool,
}

/// Why a message can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("a message of {0} bytes; at most {MESSAGE_BYTES_MAX} are read")]
    TooLong(usize),
    #[error("a message that isn't understood: {0}")]
    Syntax(serde_json::Error),
    #[error("a message in format {0}; this release reads {FORMAT}")]
    Format(u32),
}

/// Reads a message; the format's number is looked at first.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Numbered {
        format: u32,
    }
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Error::TooLong(bytes.len()));
    }
    let Numbered { format } = serde_json::from_slice(bytes).map_err(Error::Syntax)?;
    if format != FORMAT {
        return Err(Error::Format(format));
    }
    serde_json::from_slice(bytes).map_err(Error::Syntax)
}

/// Reads a message of a shard's queue.
pub(crate) fn read_incoming(bytes: &[u8]) -> Result<Incoming, Error> {
    match read::<Up>(bytes) {
        Ok(up) => Ok(Incoming::Up(up)),
        Err(error @ (Error::TooLong(_) | Error::Format(_))) => Err(error),
        Err(error @ Error::Syntax(_)) => match serde_json::from_slice(bytes) {
            Ok(Echo { echo, .. }) => Ok(Incoming::Echo(echo)),
            Err(_) => Err(error),
        },
    }
}

/// A message as it is sent.
pub(crate) fn write(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("invariant: our messages have text keys and no failing Serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_and_others_are_refused_by_their_number() {
        let down = Down { format: FORMAT, mark: Mark { epoch: 2, n: 7 }, orders: vec![Order::Sync] };
        assert_eq!(read::<Down>(&write(&down)).unwrap(), down);
        let later = write(&serde_json::json!({ "format": 9, "more": true }));
        assert!(matches!(read::<Down>(&later), Err(Error::Format(9))));
        for nonsense in [&b""[..], b"{}", b"[2]", b"\xff\x00", b"{\"format\":2,\"mark\":3}"] {
            assert!(matches!(read::<Down>(nonsense), Err(Error::Syntax(_))));
            assert!(matches!(read_incoming(nonsense), Err(Error::Syntax(_))));
        }
    }

    #[test]
    fn an_echo_and_a_workers_message_are_told_apart() {
        let mark = Mark { epoch: 3, n: 9 };
        let echo = write(&Echo { format: FORMAT, echo: mark });
        assert_eq!(read_incoming(&echo).unwrap(), Incoming::Echo(mark));
        let worker = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        let beat = Beat { n: 1, seen: mark, held: Vec::new(), draining: false, leaving: false };
        let up = Up { format: FORMAT, worker, proof: "p".to_owned(), news: News::Beat(beat) };
        assert_eq!(read_incoming(&write(&up)).unwrap(), Incoming::Up(up));
        let later = write(&Echo { format: 9, echo: mark });
        assert!(matches!(read_incoming(&later), Err(Error::Format(9))));
    }
}
