//! What the supervisor and its clients say to each other over the Unix socket.
//!
//! A frame is a length (four bytes, big-endian) and so many bytes of JSON. A client sends `{format, id, ask}`; the
//! supervisor sends `{answer: {id, answer}}` for each of them in order, and `{report}` at any time after `subscribe`.
//!
//! | ask | meaning | answer |
//! | --- | --- | --- |
//! | `hello` | who are you? | `hello` with the format, the release and the process id |
//! | `start {dispatch, context}` | start this member, once | `done`, or `refused` |
//! | `kill {dispatch, members, grace, reason}` | end all members of the dispatch; those that never came must never start | `done` |
//! | `list` | everything that isn't forgotten | `list` |
//! | `forget {dispatch, member}` | delete what has ended; what is running is refused, what is unknown is fine | `done`, `refused` |
//! | `subscribe` | repeat all reports, and go on with new ones | `done`, then reports |
//! | `logs {dispatch, member, offset, bytes}` | a piece of a log | `logs`, or `unknown` |
//! | `retire` | exit if nothing is running; everything that has ended is on disk | `done`, or `refused` |
//!
//! Every ask may be repeated: after a lost connection the client sends again whatever wasn't answered.

use dags::{
    ids::DispatchId,
    time::{Span, Timestamp},
};
use engine::dispatch::Report;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{contract::Work, log::LogChunk};

/// The number of this protocol and of the documents in an attempt's folder.
pub(crate) const FORMAT: u32 = 1;

/// The longest frame. A context with all its upstream results is the longest thing that is sent.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a client sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) format: u32,
    pub(crate) id: u64,
    pub(crate) ask: Ask,
}

/// What a request of any format begins with.
#[derive(Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) format: u32,
    pub(crate) id: u64,
}

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Hello,
    Start(Box<Work>),
    Kill { dispatch: DispatchId, members: u32, grace: Span, reason: String },
    List,
    Forget { dispatch: DispatchId, member: u32 },
    Subscribe,
    Logs { dispatch: DispatchId, member: u32, offset: u64, bytes: u64 },
    Retire,
}

/// What the supervisor sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    Answer { id: u64, answer: Answer },
    Report(Report),
}

/// The answer to one ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Hello { format: u32, release: String, pid: u32 },
    Done,
    List(Vec<Listed>),
    Logs(LogChunk),
    Unknown,
    Refused { reason: String },
}

/// One attempt that the supervisor holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    pub(crate) dispatch: DispatchId,
    pub(crate) member: u32,
    pub(crate) since: Timestamp,
    pub(crate) ended: bool,
}

/// Why bytes aren't a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("a frame of {0} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("a frame that isn't understood: {0}")]
    Syntax(serde_json::Error),
}

/// Appends a frame to `out`.
pub(crate) fn encode(message: &impl Serialize, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let written = serde_json::to_writer(&mut *out, message).map_err(Error::Syntax);
    let length = out.len() - start - 4;
    let outcome = written.and(if length > FRAME_BYTES_MAX { Err(Error::TooLong(length)) } else { Ok(()) });
    match outcome {
        Ok(()) => out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes()),
        Err(_) => out.truncate(start),
    }
    outcome
}

/// Bytes that have arrived, on their way to frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
    start: usize,
}

impl Frames {
    /// Takes what has arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The beginning of a request that isn't understood, to answer it with the numbers of both formats.
    pub(crate) fn head(&self) -> Option<Head> {
        let (length, rest) = self.buffer[self.start..].split_first_chunk::<4>()?;
        serde_json::from_slice(rest.get(..u32::from_be_bytes(*length) as usize)?).ok()
    }

    /// The next frame, if it is complete. After an error the connection is of no use.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let rest = &self.buffer[self.start..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Error::TooLong(length));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(frame).map_err(Error::Syntax)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        for id in 0..3 {
            encode(&Request { format: FORMAT, id, ask: Ask::List }, &mut bytes).unwrap();
        }
        for cut in 0..bytes.len() {
            let (mut frames, mut ids) = (Frames::default(), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                frames.push(piece);
                while let Some(request) = frames.next::<Request>().unwrap() {
                    ids.push(request.id);
                }
            }
            assert_eq!(ids, [0, 1, 2]);
        }
    }

    #[test]
    fn a_request_of_another_format_still_says_which() {
        let body = br#"{"format":9,"id":4,"ask":{"sing":{"aloud":true}}}"#;
        let mut frames = Frames::default();
        frames.push(&(body.len() as u32).to_be_bytes());
        frames.push(body);
        assert!(matches!(frames.next::<Request>(), Err(Error::Syntax(_))));
        let head = frames.head().unwrap();
        assert_eq!((head.format, head.id), (9, 4));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_it_is_stored() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_be_bytes());
        assert!(matches!(frames.next::<Request>(), Err(Error::TooLong(_))));
    }
}
