//! What a DAG file can call: `dag`, a function per operator, a method per key, and `>>`.
//!
//! Operators and keys come from the handshake, so YAML and Rhai can't drift apart. Nothing is checked here that the
//! common compiler checks as well: a wrong value travels on with its place and gets the same message as in YAML.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext};

use crate::{
    convert::to_node,
    draft::Draft,
    fault::Fault,
    language::{DAG, GROUP, OPERATOR, TASK},
    node::{Entry, Kind, Node, Span},
    protocol::Words,
};

/// A DAG, by its index in the draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DagHandle(pub(crate) usize);
/// A task, by its index in the draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskHandle(pub(crate) usize);
/// A group, by its index in the draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHandle(pub(crate) usize);
/// An operator with its parameters, before a task takes it.
#[derive(Debug, Clone)]
pub(crate) struct OperatorValue(Entry);

type Call<T> = Result<T, Box<EvalAltResult>>;

/// The draft of the script that runs, shared with the engine's functions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Draft>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Draft> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on the draft with the place of the call; its fault becomes an error there.
    fn call<T>(
        &self,
        ctx: &NativeCallContext<'_>,
        f: impl FnOnce(&mut Draft, Span) -> Result<T, Fault>,
    ) -> Call<T> {
        let mut draft = self.lock();
        let span = span(ctx, &draft);
        f(&mut draft, span).map_err(|fault| fault.raise(ctx.call_position()))
    }
}

/// Where the main file makes the call. A call inside of a module is placed at its import.
fn span(ctx: &NativeCallContext<'_>, draft: &Draft) -> Span {
    match ctx.call_source() {
        Some(file) if file != draft.source.path => draft.source.import(file),
        _ => draft.source.span(ctx.call_position()),
    }
    .unwrap_or_default()
}

/// Registers the API. All calls work on `shared`.
pub(crate) fn register(engine: &mut Engine, words: &Words, shared: &Shared) {
    engine
        .register_type_with_name::<DagHandle>(DAG)
        .register_type_with_name::<TaskHandle>(TASK)
        .register_type_with_name::<GroupHandle>(GROUP)
        .register_type_with_name::<OperatorValue>(OPERATOR);
    dags(engine, shared);
    for operator in &words.operators {
        operator_functions(engine, &operator.name, shared);
    }
    keys(engine, words, shared);
    arrows(engine, shared);
}

fn dags(engine: &mut Engine, shared: &Shared) {
    let state = shared.clone();
    engine.register_fn("dag", move |ctx: NativeCallContext<'_>, name: ImmutableString| -> Call<DagHandle> {
        state.call(&ctx, |draft, span| draft.add_dag(name.to_string(), span, Vec::new()))
    });
    let state = shared.clone();
    engine.register_fn("dag", move |ctx: NativeCallContext<'_>, name: ImmutableString, keys: Map| -> Call<DagHandle> {
        state.call(&ctx, |draft, span| {
            let mut entries = Vec::with_capacity(keys.len());
            for (key, value) in &keys {
                if ["dag", "tasks", "groups"].contains(&key.as_str()) {
                    return Err(Fault::new(format!("`{key}` isn't a key of `dag(name, #{{ ... }})`"))
                        .hint("add tasks with `d.task(name, operator)` and groups with `d.group(name, [tasks])`"));
                }
                entries.push(Entry::new(span, key.as_str(), to_node(value, span, draft, 2)?));
            }
            draft.add_dag(name.to_string(), span, entries)
        })
    });
    let state = shared.clone();
    let task = move |ctx: NativeCallContext<'_>,
                     dag: &mut DagHandle,
                     name: ImmutableString,
                     operator: Dynamic|
          -> Call<TaskHandle> {
        state.call(&ctx, |draft, span| {
            let operator = operator.try_cast_result::<OperatorValue>().map_err(|other| {
                Fault::new(format!("the second argument of `task` is an operator, not {}", other.type_name()))
                    .hint("write for example `d.task(\"load\", bash(\"./load.sh\"))`")
            })?;
            draft.add_task(*dag, name.to_string(), span, operator.0)
        })
    };
    engine.register_fn("task", task);
    let state = shared.clone();
    let group = move |ctx: NativeCallContext<'_>,
                      dag: &mut DagHandle,
                      name: ImmutableString,
                      tasks: Array|
          -> Call<GroupHandle> {
        state.call(&ctx, |draft, span| {
            let tasks = to_node(&tasks.into(), span, draft, 4)?;
            Ok(draft.add_group(*dag, name.to_string(), span, tasks))
        })
    };
    engine.register_fn("group", group);
    let state = shared.clone();
    engine.register_get("name", move |task: &mut TaskHandle| state.lock().task(*task).name.clone());
    let state = shared.clone();
    engine.register_get("name", move |dag: &mut DagHandle| state.lock().dag(*dag).name.clone());
    let state = shared.clone();
    engine.register_get("name", move |group: &mut GroupHandle| state.lock().group(*group).name.clone());
}

/// `bash("...")`, `sql(#{ ... })`, `empty()`.
fn operator_functions(engine: &mut Engine, name: &str, shared: &Shared) {
    let state = shared.clone();
    let key = name.to_owned();
    engine.register_fn(name, move |ctx: NativeCallContext<'_>, value: Dynamic| -> Call<OperatorValue> {
        state.call(&ctx, |draft, span| {
            Ok(OperatorValue(Entry::new(span, key.clone(), to_node(&value, span, draft, 4)?)))
        })
    });
    let state = shared.clone();
    let key = name.to_owned();
    engine.register_fn(name, move |ctx: NativeCallContext<'_>| -> Call<OperatorValue> {
        state.call(&ctx, |_, span| {
            let nothing = Node { span, kind: Kind::Map(Vec::new()) };
            Ok(OperatorValue(Entry::new(span, key.clone(), nothing)))
        })
    });
}

/// A method per key; each returns what it is called on, so that calls chain.
fn keys(engine: &mut Engine, words: &Words, shared: &Shared) {
    for name in words.dag_keys.iter().filter(|key| !["dag", "tasks", "groups"].contains(&key.as_str())) {
        let (state, key) = (shared.clone(), name.clone());
        let method =
            move |ctx: NativeCallContext<'_>, dag: &mut DagHandle, value: Dynamic| -> Call<DagHandle> {
                state.call(&ctx, |draft, span| {
                    let value = to_node(&value, span, draft, 2)?;
                    draft.set_dag(*dag, Entry::new(span, key.clone(), value));
                    Ok(*dag)
                })
            };
        engine.register_fn(name, method);
    }
    for name in &words.task_keys {
        let (state, key) = (shared.clone(), name.clone());
        let method =
            move |ctx: NativeCallContext<'_>, task: &mut TaskHandle, value: Dynamic| -> Call<TaskHandle> {
                state.call(&ctx, |draft, span| {
                    let value = to_node(&value, span, draft, 4)?;
                    draft.set_task(*task, Entry::new(span, key.clone(), value));
                    Ok(*task)
                })
            };
        engine.register_fn(name, method);
    }
    for name in words.group_keys.iter().filter(|key| *key != "tasks") {
        let (state, key) = (shared.clone(), name.clone());
        let method =
            move |ctx: NativeCallContext<'_>, group: &mut GroupHandle, value: Dynamic| -> Call<GroupHandle> {
                state.call(&ctx, |draft, span| {
                    let value = to_node(&value, span, draft, 4)?;
                    draft.set_group(*group, Entry::new(span, key.clone(), value));
                    Ok(*group)
                })
            };
        engine.register_fn(name, method);
    }
}

/// `a >> b`, with lists on either side. The value is the right side, so that arrows chain.
fn arrows(engine: &mut Engine, shared: &Shared) {
    let state = shared.clone();
    engine.register_fn(
        ">>",
        move |ctx: NativeCallContext<'_>, left: TaskHandle, right: TaskHandle| -> Call<TaskHandle> {
            state.call(&ctx, |draft, span| join(draft, span, &[left], &[right])).map(|()| right)
        },
    );
    let state = shared.clone();
    engine.register_fn(
        ">>",
        move |ctx: NativeCallContext<'_>, left: Array, right: TaskHandle| -> Call<TaskHandle> {
            state.call(&ctx, |draft, span| join(draft, span, &tasks(&left)?, &[right])).map(|()| right)
        },
    );
    let state = shared.clone();
    engine.register_fn(
        ">>",
        move |ctx: NativeCallContext<'_>, left: TaskHandle, right: Array| -> Call<Array> {
            state.call(&ctx, |draft, span| join(draft, span, &[left], &tasks(&right)?)).map(|()| right)
        },
    );
    let state = shared.clone();
    engine.register_fn(">>", move |ctx: NativeCallContext<'_>, left: Array, right: Array| -> Call<Array> {
        state.call(&ctx, |draft, span| join(draft, span, &tasks(&left)?, &tasks(&right)?)).map(|()| right)
    });
}

fn tasks(list: &Array) -> Result<Vec<TaskHandle>, Fault> {
    list.iter()
        .map(|item| {
            item.read_lock::<TaskHandle>().map(|task| *task).ok_or_else(|| {
                Fault::new(format!("`>>` joins tasks and lists of tasks, not {}", item.type_name()))
                    .hint("put what `d.task(...)` gives into the list")
            })
        })
        .collect()
}

fn join(draft: &mut Draft, span: Span, left: &[TaskHandle], right: &[TaskHandle]) -> Result<(), Fault> {
    for task in right {
        for upstream in left {
            let (from, to) = (draft.task(*upstream), draft.task(*task));
            if from.dag != to.dag {
                return Err(Fault::new(format!(
                    "`{}` and `{}` are tasks of different DAGs",
                    from.name, to.name
                ))
                .hint("join DAGs by an asset or the `trigger_dag` operator"));
            }
            let upstream = Node::text(span, from.name.clone());
            draft.need(*task, upstream);
        }
    }
    Ok(())
}
