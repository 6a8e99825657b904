//! `mock`: how task instances end that aren't run.

use crate::{
    compile::Context,
    dag_test::{Ends, Mock, Try},
    diagnostic::{Draft, code},
    tree::{Kind, Node},
};

/// The keys of a mock.
pub const MOCK_KEYS: &[&str] = &["ends", "result", "takes", "reason", "exit_code", "follow"];

/// The most tries that a mock tells apart.
const TRIES_MAX: usize = 1_000;

impl Context<'_, '_> {
    pub(super) fn mocks(&mut self, node: &Node) -> Vec<Mock> {
        let mut mocks = Vec::new();
        for entry in self.pairs(node, "mock", "a group of `task: how it ends` pairs") {
            let Some(of) = self.selector(&entry.key) else { continue };
            let tries = match &entry.value.kind {
                Kind::Seq(nodes) if nodes.is_empty() || nodes.len() > TRIES_MAX => {
                    let expected = format!("1 to {TRIES_MAX} tries");
                    self.expected(&entry.value, &entry.key.text, &expected, None);
                    continue;
                }
                Kind::Seq(nodes) => nodes.iter().filter_map(|node| self.mocked_try(node)).collect(),
                _ => self.mocked_try(&entry.value).into_iter().collect::<Vec<_>>(),
            };
            if !tries.is_empty() {
                mocks.push(Mock { of, tries });
            }
        }
        mocks
    }

    fn mocked_try(&mut self, node: &Node) -> Option<Try> {
        if node.as_str().is_some() {
            let ends = self.choice(node, "mock", Ends::ALL)?;
            return Some(Try { ends, ..Try::default() });
        }
        let object = self.object(node, "a mock", MOCK_KEYS)?;
        let mut mocked = Try {
            // Null is a result, too.
            result: object.entry("result").map(|entry| entry.value.to_json()),
            ..Try::default()
        };
        if let Some(node) = object.get("ends") {
            mocked.ends = self.choice(node, "ends", Ends::ALL)?;
        }
        if let Some(node) = object.get("takes") {
            mocked.takes = self.span(node, "takes")?;
        }
        if let Some(node) = object.get("reason") {
            mocked.reason = Some(self.text(node, "reason")?.to_owned());
        }
        if let Some(node) = object.get("exit_code") {
            mocked.exit_code = Some(self.whole(node, "exit_code", 0, 255)? as i32);
        }
        if let Some(node) = object.get("follow") {
            let names = self.texts(node, "follow", "a task or a list of tasks");
            mocked.follow = Some(names.into_iter().map(|(name, _)| name.to_owned()).collect());
        }
        if mocked.ends != Ends::Success && (mocked.result.is_some() || mocked.follow.is_some()) {
            let draft =
                Draft::error(code::TEST_VALUE, "only a successful try has a result or follows something");
            self.push(draft.at(node.span, "this mock").help("remove `ends` or `result`".to_owned()));
            return None;
        }
        Some(mocked)
    }
}
