//! The JSON Schema of files of tests, made from the same lists of keys as their reader.

use serde_json::{Map, Value, json};

use super::fields;
use crate::dag_test::{
    ALERT_KEYS, ALERT_KINDS, ANSWER_KEYS, EXPECT_KEYS, Ends, GIVEN_KEYS, MOCK_KEYS, RUN_STATES,
    TASK_EXPECT_KEYS, TASK_STATES, TEST_KEYS,
};

/// The schema of one document of a `*.test.yaml` file.
pub fn of_test() -> Value {
    let mut defs = Map::new();
    defs.insert("duration".to_owned(), fields::duration());
    defs.insert("names".to_owned(), fields::names());
    defs.insert("try".to_owned(), mocked_try());
    let mut schema = super::object(TEST_KEYS, test);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Test of an Updraft DAG");
    schema["required"] = json!(["test", "dag"]);
    schema["$defs"] = Value::Object(defs);
    schema
}

fn text(doc: &str) -> Value {
    json!({"type": "string", "description": doc})
}

fn refer(definition: &str, doc: &str) -> Value {
    json!({"$ref": format!("#/$defs/{definition}"), "description": doc})
}

fn values(doc: &str) -> Value {
    json!({"type": "object", "description": doc})
}

fn test(key: &str) -> Value {
    match key {
        "test" => text("What is tested, in words; unique within the file."),
        "doc" => text("More about it."),
        "dag" => text("The DAG's file, relative to this one."),
        "id" => text("Which DAG of the file, if it has several."),
        "root" => text(
            "The folder of DAGs, relative to this file, if it isn't the DAG's own: where `plugins/` lies.",
        ),
        "given" => super::described(super::object(GIVEN_KEYS, given), "The circumstances of the run."),
        "mock" => json!({
            "type": "object",
            "description": "How tasks end that aren't run, by name, `name[index]` or a pattern with `*` and `?`; a list has one for each try. What isn't mentioned succeeds after 1s without a result.",
            "additionalProperties": {
                "anyOf": [{"$ref": "#/$defs/try"}, {"type": "array", "items": {"$ref": "#/$defs/try"}, "minItems": 1}],
            },
        }),
        "run" => refer("names", "Tasks that are run for real, as names or patterns."),
        "expect" => super::described(
            super::object(EXPECT_KEYS, expect),
            "What must come of it. What isn't said isn't looked at, but for `state`.",
        ),
        _ => json!(true),
    }
}

fn given(key: &str) -> Value {
    match key {
        "date" => text("What the run stands for: a date (midnight UTC) or a time with its offset."),
        "now" => text("When it is asked for; the date if absent."),
        "params" => values("Parameters of the run."),
        "conf" => values("Whatever else the run is passed."),
        "variables" => values("Variables by name."),
        "connections" => json!({
            "type": "object",
            "description": "Connections as URLs; `sqlite::temporary:` is a database that lives as long as the test.",
            "additionalProperties": {"type": "string"},
        }),
        "answers" => json!({
            "type": "object",
            "description": "What people answer, by task: an option, a list of options, or an object.",
            "additionalProperties": {"anyOf": [{"$ref": "#/$defs/names"}, super::object(ANSWER_KEYS, answer)]},
        }),
        _ => json!(true),
    }
}

fn answer(key: &str) -> Value {
    match key {
        "choose" => refer("names", "What is chosen of the options."),
        "params" => values("What is given beside the choice."),
        "after" => refer("duration", "How long after the question; 1s if absent."),
        "by" => text("Who answers."),
        _ => json!(true),
    }
}

fn mocked_try() -> Value {
    let words: Vec<&str> = Ends::ALL.iter().map(|(word, _)| *word).collect();
    let fields = super::object(MOCK_KEYS, |key| match key {
        "ends" => {
            let words: Vec<&str> = Ends::ALL.iter().map(|(word, _)| *word).collect();
            json!({"enum": words, "description": "How it ends; `success` if absent."})
        }
        "result" => json!({"description": "What it returns."}),
        "takes" => refer("duration", "How long it takes on the test's clock; 1s if absent."),
        "reason" => text("Why it failed or was skipped."),
        "exit_code" => json!({"type": "integer", "minimum": 0, "maximum": 255}),
        "follow" => refer("names", "What a branch follows."),
        _ => json!(true),
    });
    json!({"anyOf": [{"enum": words}, fields]})
}

fn expect(key: &str) -> Value {
    match key {
        "state" => json!({
            "enum": RUN_STATES,
            "default": "success",
            "description": "The run's state; `running` is a run that waits for what doesn't come.",
        }),
        "reason" => text("A text that the reason of the run's state contains."),
        "tasks" => json!({
            "type": "object",
            "description": "Task instances by name, `name[index]` or pattern: a state, or an object.",
            "additionalProperties": {"anyOf": [{"enum": TASK_STATES}, super::object(TASK_EXPECT_KEYS, task)]},
        }),
        "order" => {
            json!({"type": "array", "items": {"type": "string"}, "description": "Each starts when the one before it has ended."})
        }
        "branch" => json!({
            "type": "object",
            "description": "What branches follow, by name.",
            "additionalProperties": {"$ref": "#/$defs/names"},
        }),
        "alerts" => json!({
            "type": "array",
            "description": "All alerts, in order; `[]` means none.",
            "items": alert(),
        }),
        "assets" => refer("names", "All assets that are updated, in order."),
        "next_runs" => json!({
            "type": "array",
            "items": {"type": "string"},
            "description": "The times of the next scheduled runs, seen from `now`; as many as are listed.",
        }),
        "duration" => refer("duration", "How long the run takes on the test's clock, in whole seconds."),
        "check" => refer(
            "names",
            "Rhai scripts over `run`, `tasks`, `alerts` and `assets` that must come to `true`.",
        ),
        "snapshot" => {
            json!({"type": "boolean", "description": "Compare everything with the file beside the test."})
        }
        _ => json!(true),
    }
}

fn task(key: &str) -> Value {
    match key {
        "state" => json!({"enum": TASK_STATES, "description": "The state at the end."}),
        "tries" => json!({"type": "integer", "minimum": 0, "description": "How many tries there were."}),
        "instances" => {
            json!({"type": "integer", "minimum": 0, "description": "How many instances a mapped task has."})
        }
        "result" => json!({"description": "The result."}),
        "rendered" => {
            values("Parameters of the operator after rendering; the operator's name is its main one.")
        }
        "reason" => text("A text that the reason contains."),
        "starts" => refer("duration", "When the last try started, from the run's start, in whole seconds."),
        _ => json!(true),
    }
}

fn alert() -> Value {
    let mut schema = super::object(ALERT_KEYS, |key| match key {
        "kind" => json!({"enum": ALERT_KINDS}),
        "to" => text("The route."),
        "task" => text("The task, if it is about one."),
        _ => json!(true),
    });
    schema["required"] = json!(["kind", "to"]);
    schema
}
