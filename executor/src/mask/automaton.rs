//! A search for many byte strings at once, one byte at a time (Aho and Corasick's).
//!
//! Nodes are sparse: a private key in all its forms has tens of thousands of them, and a dense table of each would
//! cost a kilobyte per node and attempt.

use std::collections::VecDeque;

#[derive(Debug, Clone, Default)]
struct Node {
    /// Children by byte, sorted.
    children: Vec<(u8, u32)>,
    /// The node of the longest proper suffix that is in the trie.
    fail: u32,
    /// How many bytes lead here: the longest tail of the stream that could begin a string.
    depth: u32,
    /// The length of the longest string that ends here, 0 for none.
    longest: u32,
}

/// The search tree with its failure links.
#[derive(Debug)]
pub(super) struct Automaton {
    nodes: Vec<Node>,
    /// The root's children, for the common case that nothing has begun.
    first: Box<[u32; 256]>,
}

impl Automaton {
    /// Where a stream begins.
    pub(super) const START: u32 = 0;

    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut nodes = vec![Node::default()];
        for pattern in patterns {
            let mut at = 0_u32;
            for byte in pattern {
                at = match nodes[at as usize].children.binary_search_by_key(byte, |child| child.0) {
                    Ok(i) => nodes[at as usize].children[i].1,
                    Err(i) => {
                        let new = nodes.len() as u32;
                        let depth = nodes[at as usize].depth + 1;
                        nodes[at as usize].children.insert(i, (*byte, new));
                        nodes.push(Node { depth, ..Node::default() });
                        new
                    }
                };
            }
            nodes[at as usize].longest = pattern.len() as u32;
        }
        let mut first = Box::new([0; 256]);
        for (byte, child) in &nodes[0].children {
            first[usize::from(*byte)] = *child;
        }
        let mut automaton = Self { nodes, first };
        automaton.link();
        automaton
    }

    /// Sets the failure links, by breadth, so that shorter suffixes are known before longer ones.
    fn link(&mut self) {
        let mut queue: VecDeque<u32> = self.nodes[0].children.iter().map(|child| child.1).collect();
        while let Some(at) = queue.pop_front() {
            for (byte, child) in self.nodes[at as usize].children.clone() {
                let fail = self.step(self.nodes[at as usize].fail, byte);
                let inherited = self.nodes[fail as usize].longest;
                let node = &mut self.nodes[child as usize];
                node.fail = fail;
                node.longest = node.longest.max(inherited);
                queue.push_back(child);
            }
        }
    }

    pub(super) fn step(&self, mut at: u32, byte: u8) -> u32 {
        loop {
            if at == Self::START {
                return self.first[usize::from(byte)];
            }
            let node = &self.nodes[at as usize];
            if let Ok(i) = node.children.binary_search_by_key(&byte, |child| child.0) {
                return node.children[i].1;
            }
            at = node.fail;
        }
    }

    pub(super) fn depth(&self, at: u32) -> u32 {
        self.nodes[at as usize].depth
    }

    pub(super) fn longest_match(&self, at: u32) -> u32 {
        self.nodes[at as usize].longest
    }
}
