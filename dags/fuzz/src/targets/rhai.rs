//! Rhai DAG files and tasks, in the script host but not in its process.

use std::sync::{Arc, Mutex, PoisonError};

use dags::{
    catalog::Catalog,
    compile::{DAG_KEYS, GROUP_KEYS, NoFiles, TASK_KEYS, compile_tree},
    diagnostic::Source,
    tree::Node,
};
use serde_json::json;
use updraft_script::{
    Host,
    fault::Fault,
    protocol::{Body, FORMAT, Hello, Limits, Reply, Words},
};

use super::dag;

/// The Rhai front end. A script may import `m`, a fixed module, and `me`, itself.
pub struct Rhai {
    catalog: Catalog,
    host: Host,
    me: Arc<Mutex<String>>,
}

const MODULE: &str = "fn names() { [\"a\", \"b\"] }\nfn twice(n) { n * 2 }\n";

impl Rhai {
    pub(super) fn new(full: bool) -> Self {
        let catalog = dag::catalog();
        let own = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let catalog_json = serde_json::to_value(&catalog).expect("invariant: a catalog has a JSON form");
        let language = Words {
            operators: serde_json::from_value(catalog_json)
                .expect("invariant: the script host reads the catalog"),
            dag_keys: own(DAG_KEYS),
            task_keys: own(TASK_KEYS),
            group_keys: own(GROUP_KEYS),
        };
        let production = Limits::default();
        let operations = if full { production.operations } else { production.operations / 100 };
        // Without optimisation some scripts would take all of the eight seconds that they have.
        let limits = Limits { operations, time_ms: 2_000, ..production };
        let hello = Hello { format: FORMAT, limits, language };
        let me = Arc::new(Mutex::new(String::new()));
        let text = me.clone();
        let host = Host::new(
            &hello,
            Box::new(move |name| match name {
                "m" => Ok(MODULE.to_owned()),
                "me" => Ok(text.lock().unwrap_or_else(PoisonError::into_inner).clone()),
                other => Err(Fault::new(format!("no file `{other}.rhai`"))),
            }),
        );
        Self { catalog, host, me }
    }

    pub(super) fn take(&self, text: &str) {
        text.clone_into(&mut self.me.lock().unwrap_or_else(PoisonError::into_inner));
        match self.host.answer(Body::Compile { path: "fuzz.rhai".into(), text: text.to_owned() }) {
            Reply::Trees { trees, .. } => {
                // As over the pipe.
                let json = serde_json::to_vec(&trees).expect("invariant: trees have a JSON form");
                let trees: Vec<Node> =
                    serde_json::from_slice(&json).expect("invariant: `dags` reads the trees");
                let source = Source::new("fuzz.rhai", text);
                dag::check(&source, &compile_tree(&source, &trees, &self.catalog, &NoFiles));
            }
            Reply::Fault(fault) => check(&fault, text),
            other => panic!("a DAG file is answered with {other:?}"),
        }
        let context =
            json!({ "params": { "n": 3 }, "outputs": { "load": { "rows": 10 } }, "ds": "2026-01-05" });
        match self.host.answer(Body::Run { path: "fuzz.rhai".into(), text: text.to_owned(), context }) {
            Reply::Value { .. } => {}
            Reply::Fault(fault) => check(&fault, text),
            other => panic!("a task is answered with {other:?}"),
        }
    }
}

fn check(fault: &Fault, text: &str) {
    assert!(!fault.message.is_empty(), "a fault says what is wrong");
    if let Some((start, end)) = fault.span {
        assert!(start <= end && end <= text.len(), "the span {start}..{end} lies in the text");
        assert!(
            text.is_char_boundary(start) && text.is_char_boundary(end),
            "{start}..{end} cuts no character"
        );
    }
}
