//! Traces: what happened to a run and its attempts as spans with a beginning and an end, for a collector that speaks OTLP.
//!
//! A run is one trace. The ids of its spans follow from the ids of the run and its attempts, so whoever knows those adds spans,
//! in any process and after any restart, and nothing about traces is stored or sent along. Spans are made when they have
//! ended, from what is known then. Where nobody called [`install`], [`is_on`] is false and making a span costs that look.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

mod export;

pub use export::{Exporter, InstallError, Settings};

use crate::{Counter, Metric, counter};

/// Which trace a span belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(pub(crate) [u8; 16]);

impl TraceId {
    /// The trace of a run, by its id, which is a hash.
    pub const fn of_run(run: [u8; 16]) -> Self {
        Self(run)
    }
}

/// A span within its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId(pub(crate) [u8; 8]);

impl SpanId {
    /// How W3C's `traceparent` names this span, for programs that go on with the trace.
    pub fn traceparent(self, trace: TraceId) -> String {
        let (trace, id) = (u128::from_be_bytes(trace.0), u64::from_be_bytes(self.0));
        format!("00-{trace:032x}-{id:016x}-01")
    }

    /// The trace and span that a `traceparent` names; none if it isn't one.
    pub fn parse_traceparent(text: &str) -> Option<(TraceId, Self)> {
        let mut parts = text.split('-');
        let (version, trace, id) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex(version, 2) || version == "ff" || !is_hex(trace, 32) || !is_hex(id, 16) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let id = u64::from_str_radix(id, 16).ok().filter(|id| *id != 0)?;
        Some((TraceId(trace.to_be_bytes()), Self(id.to_be_bytes())))
    }

    /// The span of what has this id, a hash or random: a run, an attempt.
    pub const fn of(id: [u8; 16]) -> Self {
        Self(Self::half(id, 0))
    }

    /// The `n`th span of a kind below what has this id. Kinds are numbers below 16, chosen by whoever makes the spans.
    pub const fn below(id: [u8; 16], kind: u8, n: u64) -> Self {
        let half = u64::from_be_bytes(Self::half(id, 8));
        let id = half ^ ((kind as u64 + 1) << 56) ^ n.rotate_left(8);
        Self(if id == 0 { u64::MAX } else { id }.to_be_bytes())
    }

    const fn half(id: [u8; 16], from: usize) -> [u8; 8] {
        let mut half = [0; 8];
        let mut n = 0;
        while n < 8 {
            half[n] = id[from + n];
            n += 1;
        }
        half
    }
}

/// On which side of a request a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On neither.
    Internal,
    /// It answers one.
    Server,
}

/// What is said about a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Something that happened and is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Itself.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What it is, `noun.verb`; never a name that people gave.
    pub name: &'static str,
    /// On which side of a request it is.
    pub kind: Kind,
    /// When it began, in microseconds since 1970.
    pub start: i64,
    /// When it ended.
    pub end: i64,
    /// What is said about it, under dotted names that are the same as in the log.
    pub attributes: Vec<(&'static str, Value)>,
    /// Spans that it has to do with and isn't a part of.
    pub links: Vec<(TraceId, SpanId)>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// Where spans go, once somebody has asked for them.
struct Out {
    queue: mpsc::Sender<Span>,
    /// How many traces of 2^32 are kept.
    kept: u64,
    dropped: Counter,
}

static OUT: OnceLock<Arc<Out>> = OnceLock::new();

/// Spans of this process go to a collector from now on; the exporter must be run. Once per process.
pub fn install(settings: Settings) -> Result<Exporter, InstallError> {
    let kept = (u64::from(settings.sample_percent.min(100)) << 32) / 100;
    let (exporter, queue) = Exporter::new(settings)?;
    let out = Out { queue, kept, dropped: counter(Metric::TraceSpans, &[("outcome", "dropped")]) };
    OUT.set(Arc::new(out)).map_err(|_| InstallError::Twice)?;
    Ok(exporter)
}

/// Whether spans are wanted at all.
pub fn is_on() -> bool {
    OUT.get().is_some()
}

/// Whether spans of this trace are wanted: all processes agree about that.
pub fn wants(trace: TraceId) -> bool {
    OUT.get().is_some_and(|out| {
        let [.., a, b, c, d] = trace.0;
        u64::from(u32::from_be_bytes([a, b, c, d])) < out.kept
    })
}

/// Hands a span over. It is dropped, and counted, if its trace isn't wanted or more wait than the collector takes.
pub fn send(span: Span) {
    let Some(out) = OUT.get() else { return };
    if wants(span.trace) && out.queue.try_send(span).is_err() {
        out.dropped.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_below_one_thing_differ() {
        let id = *b"0123456789abcdef";
        let mut seen = std::collections::BTreeSet::from([SpanId::of(id)]);
        for kind in 0..16 {
            for n in (0..1_000).chain([u64::MAX, 1 << 32]) {
                assert!(seen.insert(SpanId::below(id, kind, n)), "{kind} {n}");
            }
        }
        assert_eq!(SpanId::below(id, 3, 7), SpanId::below(id, 3, 7));
    }

    #[test]
    fn a_span_is_named_as_others_name_it() {
        let (trace, id) = (TraceId::of_run([7; 16]), SpanId([9; 8]));
        let text = id.traceparent(trace);
        assert_eq!(text, "00-07070707070707070707070707070707-0909090909090909-01");
        assert_eq!(SpanId::parse_traceparent(&text), Some((trace, id)));
        let zero = format!("00-{}-0909090909090909-01", "0".repeat(32));
        for wrong in ["", "00", "00-07-09-01", &text.replace("07", "0x"), &zero, &text.replace("00-", "ff-")]
        {
            assert_eq!(SpanId::parse_traceparent(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_is_wanted_where_nobody_asked() {
        assert!(!is_on());
        assert!(!wants(TraceId::of_run([1; 16])));
    }
}
