//! The schemas and the short documentation of the language's own keys.

use serde_json::{Value, json};

use super::described;
use crate::{
    compile::{GPU_KEYS, POD_KEYS, RESOURCE_KEYS, SCHEDULE_KEYS, TOLERATION_KEYS},
    model::{
        DeadlineFrom, Jitter, Missed, OnGap, OnOverlap, TaintEffect, TaskEvent, TimetableKind, TriggerRule,
        WeightRule,
    },
};

fn choice<T>(all: &[(&str, T)], doc: &str) -> Value {
    let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
    json!({"enum": words, "description": doc})
}

fn text(doc: &str) -> Value {
    json!({"type": "string", "description": doc})
}

fn flag(doc: &str) -> Value {
    json!({"type": "boolean", "description": doc})
}

fn count(least: u32, doc: &str) -> Value {
    json!({"type": "integer", "minimum": least, "description": doc})
}

fn refer(definition: &str, doc: &str) -> Value {
    json!({"$ref": format!("#/$defs/{definition}"), "description": doc})
}

pub(super) fn duration() -> Value {
    json!({
        "type": "string",
        "pattern": r"^\s*(([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?([0-9.]+us)?|P[0-9A-Za-z.,]+)\s*$",
        "minLength": 2,
        "examples": ["30s", "20m", "1h30m", "1d", "PT20M"],
    })
}

pub(super) fn names() -> Value {
    json!({"type": ["string", "array"], "items": {"type": "string"}})
}

pub(super) fn map() -> Value {
    let output = json!({
        "type": "object",
        "properties": {"output": text("The task whose result, a list or an object, is mapped over.")},
        "required": ["output"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {"zip": flag("Walk all lists in step instead of forming their product.")},
        "additionalProperties": {"anyOf": [{"type": "array"}, output]},
        "minProperties": 1,
        "examples": [{"store": ["berlin", "paris"]}, {"store": {"output": "stores"}}],
    })
}

pub(super) fn notify() -> Value {
    let route = json!({
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {"notify": text("The notification route.")},
                "required": ["notify"],
                "additionalProperties": false,
            },
        ]
    });
    json!({"anyOf": [route, {"type": "array", "items": route}]})
}

pub(super) fn assets() -> Value {
    let list = json!({"anyOf": [{"$ref": "#/$defs/assets"}, {"type": "array", "items": {"$ref": "#/$defs/assets"}}]});
    let condition = |key: &str| {
        let properties = json!({ (key): list });
        json!({"type": "object", "properties": properties, "required": [key], "additionalProperties": false})
    };
    json!({
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"$ref": "#/$defs/assets"}, "minItems": 1},
            condition("any"),
            condition("all"),
        ]
    })
}

fn schedule() -> Value {
    let fields = super::object(SCHEDULE_KEYS, schedule_field);
    json!({
        "description": "When runs are made: a cron expression, @daily and the like, or an object. Nothing: by hand only.",
        "anyOf": [{"type": "string", "examples": ["30 2 * * *", "@daily"]}, fields, {"type": "null"}],
    })
}

fn schedule_field(key: &str) -> Value {
    match key {
        "cron" => text("Minute, hour, day of month, month, day of week; a sixth field is seconds."),
        "crons" => refer("names", "Several cron expressions; a run at each tick of any."),
        "every" => refer("duration", "A fixed distance between runs."),
        "once" => json!({"const": true, "description": "One run, at the start date or now."}),
        "continuous" => json!({"const": true, "description": "The next run starts when the last one ended."}),
        "assets" => refer("assets", "A run when these assets were updated; a list means all of them."),
        "timezone" => {
            json!({"type": "string", "description": "An IANA time zone.", "default": "UTC", "examples": ["Europe/Berlin"]})
        }
        "timetable" => choice(
            TimetableKind::ALL,
            "Whether a run stands for its tick or for the interval that ends there.",
        ),
        "on_gap" => choice(OnGap::ALL, "What happens to a local time that doesn't exist."),
        "on_overlap" => choice(OnOverlap::ALL, "What happens to a local time that exists twice."),
        "missed" => choice(Missed::ALL, "What happens to runs that were missed while paused or down."),
        "max_lateness" => refer("duration", "A missed run older than this isn't made."),
        _ => json!(true),
    }
}

pub(super) fn dag(key: &str) -> Value {
    match key {
        "dag" => text("The DAG's name, unique within its tenant."),
        "doc" => text("Markdown for people."),
        "owner" => text("Who answers for the DAG."),
        "tags" => refer("names", "Labels to find it by."),
        "schedule" => schedule(),
        "start_date" => {
            text("No run covers anything earlier: a date in the schedule's zone, or a time with its offset.")
        }
        "end_date" => text("No run covers anything later: a date (its midnight), or a time with its offset."),
        "params" => json!({
            "type": "object",
            "description": "Parameters of a run: JSON Schemas with defaults.",
            "additionalProperties": {"type": "object"},
        }),
        "max_active_runs" => count(1, "How many runs may be active at once. Default 16."),
        "max_active_tasks" => {
            count(1, "How many task instances of one run may be queued or running at once. Default 16.")
        }
        "max_consecutive_failed_runs" => {
            count(0, "Pause the DAG after so many failed runs in a row; 0 means never.")
        }
        "fail_fast" => flag("Whether the first failed task ends the run."),
        "run_timeout" => refer("duration", "How long a run may take from its start."),
        "on_failure" => refer("notify", "Who hears of a failed run."),
        "on_success" => refer("notify", "Who hears of a successful run."),
        "deadline" => deadline(),
        "tasks" => json!({
            "type": "object",
            "description": "What is done: name to task.",
            "additionalProperties": {"$ref": "#/$defs/task"},
            "minProperties": 1,
        }),
        "groups" => json!({
            "type": "object",
            "description": "Tasks that are shown, limited or mapped as a whole.",
            "additionalProperties": {"$ref": "#/$defs/group"},
        }),
        _ => json!(true),
    }
}

fn deadline() -> Value {
    let one = json!({
        "type": "object",
        "properties": {
            "from": choice(DeadlineFrom::ALL, "From when it counts."),
            "within": refer("duration", "How long the run may take."),
            "notify": text("The route that hears of a breach."),
        },
        "required": ["within", "notify"],
        "additionalProperties": false,
    });
    json!({"description": "A promise about when a run is done.", "anyOf": [one, {"type": "array", "items": one}]})
}

pub(super) fn group(key: &str) -> Value {
    match key {
        "tasks" => refer("names", "The names of its tasks."),
        "parent" => text("The group that it is in."),
        "map" => refer("map", "What the group as a whole is repeated over."),
        _ => text("Markdown for people."),
    }
}

pub(super) fn task(key: &str) -> Value {
    match key {
        "doc" => text("Markdown for people."),
        "needs" => refer("names", "The tasks that must end before: a name or a list."),
        "trigger_rule" => {
            choice(TriggerRule::ALL, "When the task may start, given how its upstream tasks ended.")
        }
        "retries" => count(0, "How many times a failed attempt is repeated. Default 0."),
        "retry_delay" => refer("duration", "The wait before the first retry. Default 5m."),
        "retry_backoff" => {
            json!({"type": "number", "minimum": 0, "description": "What the wait is multiplied with from one retry to the next; 0 or 1 keeps it constant."})
        }
        "retry_jitter" => choice(Jitter::ALL, "How the wait is spread."),
        "max_retry_delay" => refer("duration", "The longest wait between retries."),
        "timeout" => refer("duration", "How long an attempt may run."),
        "pool" => text("The pool whose slots it takes. Default default_pool."),
        "pool_slots" => count(1, "How many slots it takes. Default 1."),
        "priority" => json!({"type": "integer", "description": "Higher goes first. Default 1."}),
        "weight_rule" => choice(WeightRule::ALL, "How the priority grows with its neighbours'."),
        "depends_on_past" => flag("Whether it waits for its own success in the previous run."),
        "wait_for_downstream" => {
            flag("Whether it also waits for its direct downstream tasks in the previous run.")
        }
        "wait_for_past_before_skipping" => flag("Whether a skip waits until the past dependencies are met."),
        "max_active" => count(1, "How many instances of it may be active over all runs."),
        "max_active_per_run" => count(1, "How many instances of it may be active in one run."),
        "executor" => text("The executor; the service's choice if absent."),
        "queue" => text("A constraint on the worker."),
        "resources" => resources(),
        "pod" => pod(),
        "gang" => count(1, "How many equal members start together, or none."),
        "preemptible" => flag("Whether it may be ended to give back borrowed capacity. Default true."),
        "env" => json!({
            "type": "object",
            "description": "Environment variables; templates.",
            "additionalProperties": {"type": ["string", "integer"]},
        }),
        "when" => {
            json!({"type": ["string", "boolean"], "description": "An expression; false skips the task.", "examples": ["{{ params.region == 'eu' }}"]})
        }
        "outlets" => refer("names", "Assets that a success updates."),
        "map" => refer("map", "What the task is repeated over; `{{ map.name }}` is the value."),
        "teardown_of" => refer("names", "The setups that it cleans up after; makes it a teardown."),
        "on_failure_fail_run" => flag("Whether a failed teardown fails the run."),
        "notify" => task_notify(),
        _ => json!(true),
    }
}

fn pod() -> Value {
    let schema = super::object(POD_KEYS, |key| match key {
        "image" => text("The image that the attempt runs in; the executor's if absent."),
        "service_account" => text("The service account whose token the attempt finds; none if absent."),
        "node_selector" => json!({
            "type": "object",
            "description": "Labels that a node must have.",
            "additionalProperties": {"type": "string"},
        }),
        _ => json!({
            "type": "array",
            "description": "Taints that a node may have.",
            "items": toleration(),
        }),
    });
    let doc = "What its pods are to be like, on executors that make some and whose settings allow it.";
    super::described(schema, doc)
}

fn toleration() -> Value {
    let mut schema = super::object(TOLERATION_KEYS, |key| match key {
        "key" => text("The taint's key."),
        "value" => text("Its value; any if absent."),
        _ => choice(TaintEffect::ALL, "Its effect; any if absent."),
    });
    schema["required"] = json!(["key"]);
    schema
}

fn task_notify() -> Value {
    let event = choice(TaskEvent::ALL, "What it is about. Default failure.");
    let route = json!({
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {
                    "on": {"anyOf": [event, {"type": "array", "items": event}]},
                    "notify": text("The notification route."),
                },
                "required": ["notify"],
                "additionalProperties": false,
            },
        ]
    });
    let schema = json!({"anyOf": [route, {"type": "array", "items": route}]});
    described(schema, "Who hears of its failure, success or retry.")
}

fn resources() -> Value {
    let schema = super::object(RESOURCE_KEYS, |key| match key {
        "cpu" => {
            json!({"type": ["integer", "number", "string"], "description": "CPUs.", "examples": [8, 0.5, "500m"]})
        }
        "memory" => {
            json!({"type": "string", "description": "Memory with its unit.", "examples": ["512Mi", "32Gi"]})
        }
        "gpu" => {
            let gpu = super::object(GPU_KEYS, |key| match key {
                "count" => count(1, "How many. Default 1."),
                _ => text("Which; any if absent."),
            });
            json!({"description": "GPUs.", "anyOf": [{"type": "integer", "minimum": 1}, gpu]})
        }
        _ => json!({
            "type": "object",
            "description": "Counters that the platform defines.",
            "additionalProperties": {"type": "integer", "minimum": 1},
        }),
    });
    described(schema, "What an attempt needs.")
}
