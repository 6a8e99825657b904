//! Builds one document's tree from parser events. No recursion: a hostile file can't overflow the stack.

use std::collections::BTreeMap;

use granit_parser::{Event, ScalarStyle};

use super::scalar;
use crate::{
    diagnostic::{Draft, Reporter, code},
    tree::{ByteRange, DEPTH_MAX, Entry, Key, Kind, Node},
};

/// How many values all anchors and aliases of a document together may copy.
const COPIED_NODES_MAX: usize = 50_000;
/// How many bytes of text they may copy.
const COPIED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The document can't be understood any further; the problem is already reported.
pub(super) struct GiveUp;

/// What copying a value costs.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    height: usize,
}

struct Anchor {
    node: Node,
    weight: Weight,
}

enum Container {
    Seq(Vec<Node>),
    Map { entries: Vec<Entry>, merged: Vec<Entry>, key: Option<Key>, first: BTreeMap<String, ByteRange> },
}

struct Frame {
    start: ByteRange,
    anchor: usize,
    weight: Weight,
    container: Container,
}

pub(super) struct Builder<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Anchor>,
    copied: Weight,
    root: Option<Node>,
}

impl<'t> Builder<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, stack: Vec::new(), anchors: BTreeMap::new(), copied: Weight::default(), root: None }
    }

    /// The document's tree; nothing if the document is empty.
    pub(super) fn finish(self) -> Option<Node> {
        self.root.filter(|root| root.kind != Kind::Null)
    }

    pub(super) fn event(
        &mut self,
        event: Event<'_>,
        span: ByteRange,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), GiveUp> {
        if event.tag().is_some() {
            reporter.push(
                Draft::error(code::YAML_TAG, "tags such as `!name` have no meaning here")
                    .at(span, "this value has a tag")
                    .help("remove the tag; put a value into quotes to make it a text".to_owned()),
            );
        }
        match event {
            Event::Scalar(text, style, anchor, _) => self.scalar(&text, style, anchor, span, reporter),
            Event::SequenceStart(_, anchor, _) => {
                self.open(Container::Seq(Vec::new()), anchor, span, reporter)
            }
            Event::MappingStart(_, anchor, _) => {
                let (entries, merged, first) = (Vec::new(), Vec::new(), BTreeMap::new());
                self.open(Container::Map { entries, merged, key: None, first }, anchor, span, reporter)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span, reporter),
            Event::Alias(id) => self.alias(id, span, reporter),
            Event::UnresolvedAlias(name) => {
                reporter.push(
                    Draft::error(
                        code::YAML_ALIAS,
                        format!("`*{name}` refers to an anchor that doesn't exist"),
                    )
                    .at(span, "this is an alias")
                    .help(format!("put a text that starts with `*` into quotes, or define `&{name}` before")),
                );
                // Its place stays empty: what it should have been is not to be guessed.
                if let Some(Frame { container: Container::Map { key, .. }, .. }) = self.stack.last_mut() {
                    *key = None;
                }
                Ok(())
            }
            // Starts and ends of streams and documents; comments, if another crate turns that feature on.
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        span: ByteRange,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), GiveUp> {
        if let Some(Frame { container: Container::Map { key: key @ None, first, .. }, .. }) =
            self.stack.last_mut()
        {
            let text = text.to_owned();
            // A merge key may stand twice: it isn't a key of ours.
            if text != "<<" {
                if let Some(before) = first.get(&text) {
                    reporter.push(
                        Draft::error(code::YAML_DUPLICATE_KEY, format!("the key `{text}` stands here twice"))
                            .at(span, "again here")
                            .at(*before, "first here")
                            .help("remove one of them; only one value could count".to_owned()),
                    );
                } else {
                    first.insert(text.clone(), span);
                }
            }
            *key = Some(Key { span, text });
            return Ok(());
        }
        let kind = if style == ScalarStyle::Plain {
            scalar::resolve(text).unwrap_or_else(|ambiguous| {
                let shown: String = text.chars().take(30).collect();
                reporter.push(
                    Draft::error(code::YAML_AMBIGUOUS, format!("`{shown}` {}", ambiguous.why))
                        .at(span, "ambiguous")
                        .help(ambiguous.instead),
                );
                ambiguous.likely
            })
        } else {
            Kind::Str(text.to_owned())
        };
        let node = Node { span, kind };
        let weight = Weight { nodes: 1, bytes: text.len(), height: 1 };
        self.remember(anchor, &node, weight, reporter)?;
        self.value(node, weight, reporter)
    }

    fn open(
        &mut self,
        container: Container,
        anchor: usize,
        span: ByteRange,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), GiveUp> {
        if let Some(Frame { container: Container::Map { key: None, .. }, .. }) = self.stack.last() {
            reporter.push(self.complex_key(span));
            return Err(GiveUp);
        }
        if self.stack.len() + 1 >= DEPTH_MAX {
            reporter.push(too_deep(span));
            return Err(GiveUp);
        }
        self.stack.push(Frame {
            start: span,
            anchor,
            weight: Weight { nodes: 1, bytes: 0, height: 1 },
            container,
        });
        Ok(())
    }

    fn close(&mut self, span: ByteRange, reporter: &mut Reporter<'_>) -> Result<(), GiveUp> {
        let frame = self.stack.pop().expect("invariant: the parser closes only what it opened");
        let kind = match frame.container {
            Container::Seq(nodes) => Kind::Seq(nodes),
            Container::Map { mut entries, merged, first, .. } => {
                merge(&mut entries, merged, &first);
                Kind::Map(entries)
            }
        };
        let node = Node { span: ByteRange::new(frame.start.start, span.end.max(frame.start.end)), kind };
        self.remember(frame.anchor, &node, frame.weight, reporter)?;
        self.value(node, frame.weight, reporter)
    }

    /// Keeps a copy of an anchored value.
    fn remember(
        &mut self,
        anchor: usize,
        node: &Node,
        weight: Weight,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), GiveUp> {
        if anchor != 0 {
            self.copy(weight, node.span, reporter)?;
            self.anchors.insert(anchor, Anchor { node: node.clone(), weight });
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: ByteRange, reporter: &mut Reporter<'_>) -> Result<(), GiveUp> {
        if let Some(Frame { container: Container::Map { key: None, .. }, .. }) = self.stack.last() {
            reporter.push(self.complex_key(span));
            return Err(GiveUp);
        }
        let Some(weight) = self.anchors.get(&id).map(|anchor| anchor.weight) else {
            reporter.push(
                Draft::error(code::YAML_ALIAS, "an alias inside of the value that it repeats")
                    .at(span, "this would repeat without end"),
            );
            return Err(GiveUp);
        };
        self.copy(weight, span, reporter)?;
        if self.stack.len() + weight.height >= DEPTH_MAX {
            reporter.push(too_deep(span));
            return Err(GiveUp);
        }
        let node = self.anchors[&id].node.clone();
        self.value(node, weight, reporter)
    }

    /// Takes the cost of a copy from the budget, before the copy is made.
    fn copy(&mut self, weight: Weight, span: ByteRange, reporter: &mut Reporter<'_>) -> Result<(), GiveUp> {
        self.copied.nodes += weight.nodes;
        self.copied.bytes += weight.bytes;
        if self.copied.nodes <= COPIED_NODES_MAX && self.copied.bytes <= COPIED_BYTES_MAX {
            return Ok(());
        }
        reporter.push(
            Draft::error(
                code::YAML_ALIAS,
                format!("the anchors and aliases of this document repeat more than {COPIED_NODES_MAX} values or 4 MiB"),
            )
            .at(span, "the budget ends here")
            .help("write the values out, or put what tasks have in common under `defaults`".to_owned()),
        );
        Err(GiveUp)
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Node, weight: Weight, reporter: &mut Reporter<'_>) -> Result<(), GiveUp> {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight.nodes += weight.nodes;
        frame.weight.bytes += weight.bytes;
        frame.weight.height = frame.weight.height.max(weight.height + 1);
        match &mut frame.container {
            Container::Seq(nodes) => nodes.push(node),
            Container::Map { entries, merged, key, first } => {
                let key = key.take().expect("invariant: a value follows its key");
                if key.text == "<<" {
                    return merge_source(node, merged, key.span, reporter);
                }
                // Of a key that stands twice the first counts; the second is already reported.
                if first.get(&key.text) == Some(&key.span) {
                    frame.weight.bytes += key.text.len();
                    entries.push(Entry { key, value: node });
                }
            }
        }
        Ok(())
    }

    fn complex_key(&self, span: ByteRange) -> Draft {
        let before = self.text[..self.text.floor_char_boundary(span.start)].ends_with('{');
        let draft = Draft::error(code::YAML_KEY, "a key must be a simple text");
        if before && self.text[span.start..].starts_with('{') {
            let start = span.start - 1;
            let line = self.text[start..].lines().next().unwrap_or_default();
            let shown: String = line.trim_end().chars().take(60).collect();
            return draft
                .at(ByteRange::new(start, start + 2), "YAML reads this as two nested maps")
                .help(format!("a value that starts with `{{{{` must be in quotes: `\"{shown}\"`"));
        }
        draft.at(span, "this isn't one")
    }
}

fn too_deep(span: ByteRange) -> Draft {
    Draft::error(code::YAML_LIMIT, format!("values are nested more than {DEPTH_MAX} deep"))
        .at(span, "here")
        .help("no DAG needs that: make the values flatter".to_owned())
}

/// Takes the pairs of a `<<` key: a map or a list of maps.
fn merge_source(
    node: Node,
    merged: &mut Vec<Entry>,
    key: ByteRange,
    reporter: &mut Reporter<'_>,
) -> Result<(), GiveUp> {
    let nodes = match node.kind {
        Kind::Seq(nodes) => nodes,
        kind => vec![Node { span: node.span, kind }],
    };
    for node in nodes {
        let Kind::Map(entries) = node.kind else {
            reporter.push(
                Draft::error(code::YAML_ALIAS, "`<<` merges maps only")
                    .at(key, "merged here")
                    .at(node.span, "this isn't a map"),
            );
            return Err(GiveUp);
        };
        merged.extend(entries);
    }
    Ok(())
}

/// Adds what `<<` brought; the map's own keys win, and of the merged ones the first.
fn merge(entries: &mut Vec<Entry>, merged: Vec<Entry>, first: &BTreeMap<String, ByteRange>) {
    let mut seen = std::collections::BTreeSet::new();
    for entry in merged {
        if !first.contains_key(&entry.key.text) && seen.insert(entry.key.text.clone()) {
            entries.push(entry);
        }
    }
}
