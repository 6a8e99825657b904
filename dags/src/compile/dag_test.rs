//! From document trees to tests of DAGs, with the same readers and diagnostics as DAG files.

mod expect;
mod mocks;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

pub use self::{
    expect::{ALERT_KEYS, ALERT_KINDS, EXPECT_KEYS, RUN_STATES, TASK_EXPECT_KEYS, TASK_STATES},
    mocks::MOCK_KEYS,
    names::check,
};
use super::{Context, NoFiles, object::Object};
use crate::{
    catalog::Catalog,
    dag_test::{DagTest, Given, GivenAnswer, Placed, Selector},
    diagnostic::{Diagnostic, Draft, Reporter, Source, code},
    time::{Span, Timestamp},
    tree::{ByteRange, Key, Kind, Node},
    yaml,
};

/// The keys of a test.
pub const TEST_KEYS: &[&str] = &["test", "doc", "dag", "id", "root", "given", "mock", "run", "expect"];
/// The keys of `given`.
pub const GIVEN_KEYS: &[&str] = &["date", "now", "params", "conf", "variables", "connections", "answers"];
/// The keys of an answer.
pub const ANSWER_KEYS: &[&str] = &["choose", "params", "after", "by"];

/// Who answers if nothing is said.
const SOMEBODY: &str = "somebody";

/// Reads all tests of a file. A document with errors is no test, the others are nevertheless.
pub fn read(source: &Source) -> (Vec<DagTest>, Vec<Diagnostic>) {
    let catalog = Catalog::new([]).expect("invariant: no operator is a catalog");
    let mut reporter = Reporter::new(source);
    let documents = yaml::read(&mut reporter);
    if documents.is_empty() && reporter.errors() == 0 {
        reporter.push(
            Draft::error(code::TEST_EMPTY, "the file holds no test")
                .help("start with `test: what is tested` and `dag: ../file.yaml`".to_owned()),
        );
    }
    let mut context = Context { reporter, catalog: &catalog, files: &NoFiles, lacking: BTreeSet::new() };
    let mut tests: Vec<DagTest> = Vec::new();
    let mut names: BTreeMap<String, ByteRange> = BTreeMap::new();
    for document in documents {
        let errors = context.reporter.errors();
        let test = context.dag_test(&document.tree);
        let sound = document.sound && context.reporter.errors() == errors;
        let Some(test) = test.filter(|_| sound) else { continue };
        if let Some(before) = names.insert(test.name.value.clone(), test.name.span) {
            let message = format!("two tests are named `{}`", test.name.value);
            let draft = Draft::error(code::DAG_DUPLICATE, message).at(test.name.span, "again here");
            context.push(draft.at(before, "first here"));
        }
        tests.push(test);
    }
    (tests, context.reporter.finish())
}

impl Context<'_, '_> {
    fn dag_test(&mut self, node: &Node) -> Option<DagTest> {
        let object = self.object(node, "a test", TEST_KEYS)?;
        let name =
            self.needed(&object, "test", "a test", "say what is tested: `test: a failed load is repeated`");
        let file = self.needed(
            &object,
            "dag",
            "a test",
            "name the DAG's file, relative to this one: `dag: ../etl.yaml`",
        );
        if let Some(doc) = object.get("doc") {
            self.text(doc, "doc");
        }
        let placed =
            |context: &mut Self, key: &str| object.get(key).and_then(|node| context.placed_text(node, key));
        let dag = placed(self, "id");
        let root = placed(self, "root");
        let given = object.get("given").map(|node| self.circumstances(node)).unwrap_or_default();
        let mocks = object.get("mock").map(|node| self.mocks(node)).unwrap_or_default();
        let run = object.get("run").map(|node| self.placed_texts(node, "run", "a task or a list of tasks"));
        let expect = self.expect(object.get("expect"), object.span);
        Some(DagTest {
            name: name?,
            file: file?,
            dag,
            root,
            given,
            mocks,
            run: run.unwrap_or_default(),
            expect: expect?,
        })
    }

    fn needed(&mut self, object: &Object<'_>, key: &str, what: &str, help: &str) -> Option<Placed<String>> {
        if let Some(node) = object.get(key) {
            return self.placed_text(node, key);
        }
        // A key without a value was reported already.
        if object.entry(key).is_none() {
            let draft = Draft::error(code::DAG_MISSING_KEY, format!("{what} needs `{key}`"));
            self.push(draft.at(object.span, "missing here").help(help.to_owned()));
        }
        None
    }

    fn placed_text(&mut self, node: &Node, what: &str) -> Option<Placed<String>> {
        let text = self.text(node, what)?.to_owned();
        Some(Placed { value: text, span: node.span })
    }

    fn placed_texts(&mut self, node: &Node, what: &str, of: &str) -> Vec<Placed<String>> {
        let texts = self.texts(node, what, of);
        texts.into_iter().map(|(text, node)| Placed { value: text.to_owned(), span: node.span }).collect()
    }

    fn circumstances(&mut self, node: &Node) -> Given {
        let mut given = Given::default();
        let Some(object) = self.object(node, "`given`", GIVEN_KEYS) else { return given };
        given.date = object.get("date").and_then(|node| self.instant(node, "date", &TimeZone::UTC));
        given.now = object.get("now").and_then(|node| self.instant(node, "now", &TimeZone::UTC));
        for (key, into) in
            [("params", &mut given.params), ("conf", &mut given.conf), ("variables", &mut given.variables)]
        {
            if let Some(node) = object.get(key) {
                *into = self.values(node, key);
            }
        }
        given.params_span = object.get("params").map_or(node.span, |node| node.span);
        if let Some(node) = object.get("connections") {
            for entry in self.pairs(node, "connections", "a group of `name: URL` pairs") {
                let url = self.placed_text(&entry.value, &entry.key.text);
                given.connections.extend(url.map(|url| (entry.key.text.clone(), url)));
            }
        }
        if let Some(node) = object.get("answers") {
            for entry in self.pairs(node, "answers", "a group of `task: answer` pairs") {
                given.answers.extend(self.given_answer(&entry.key, &entry.value));
            }
        }
        given
    }

    /// A group of any values.
    fn values(&mut self, node: &Node, what: &str) -> Map<String, Value> {
        let entries = self.pairs(node, what, "a group of `name: value` pairs");
        entries.iter().map(|entry| (entry.key.text.clone(), entry.value.to_json())).collect()
    }

    fn given_answer(&mut self, key: &Key, node: &Node) -> Option<GivenAnswer> {
        let task = Placed { value: key.text.clone(), span: key.span };
        let mut answer = GivenAnswer {
            task,
            choose: Vec::new(),
            params: Map::new(),
            after: Span::seconds(1),
            by: SOMEBODY.to_owned(),
        };
        if !matches!(node.kind, Kind::Map(_)) {
            let chosen = self.texts(node, &key.text, "what is chosen, or an answer with `choose`");
            answer.choose = chosen.into_iter().map(|(text, _)| text.to_owned()).collect();
            return Some(answer);
        }
        let object = self.object(node, "an answer", ANSWER_KEYS)?;
        if let Some(node) = object.get("choose") {
            let chosen = self.texts(node, "choose", "an option or a list of options");
            answer.choose = chosen.into_iter().map(|(text, _)| text.to_owned()).collect();
        }
        if let Some(node) = object.get("params") {
            answer.params = self.values(node, "params");
        }
        if let Some(after) = object.get("after").and_then(|node| self.span(node, "after")) {
            answer.after = after;
        }
        if let Some(by) = object.get("by").and_then(|node| self.text(node, "by")) {
            by.clone_into(&mut answer.by);
        }
        Some(answer)
    }

    /// `task`, `task[3]`, `load_*`.
    fn selector(&mut self, key: &Key) -> Option<Placed<Selector>> {
        let text = key.text.as_str();
        let found = match text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
            Some((task, index)) => index
                .parse()
                .ok()
                .map(|index: u16| Selector { task: task.to_owned(), index: Some(index.into()) }),
            None => Some(Selector { task: text.to_owned(), index: None }),
        };
        if found.is_none() {
            let draft = Draft::error(code::TEST_VALUE, format!("`{text}` names no task instance"));
            self.push(draft.at(key.span, "this name").help("write `task` or `task[0]`".to_owned()));
        }
        found.map(|value| Placed { value, span: key.span })
    }

    /// A time with an offset.
    fn instants(&mut self, node: &Node, what: &str) -> Vec<Timestamp> {
        let Kind::Seq(nodes) = &node.kind else {
            self.expected(node, what, "a list of times", None);
            return Vec::new();
        };
        nodes.iter().filter_map(|node| self.instant(node, what, &TimeZone::UTC)).collect()
    }
}
