//! The operators that every installation has.
//!
//! Each is a documented struct of its parameters; from it come the JSON Schema of the catalog and the reference page.

use dags::model::Runner;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    flow, human,
    operator::{Failure, Job, Step, read},
    schema,
};

mod bash;
mod email;
mod file;
mod http;
mod python;
pub(crate) mod rhai;
pub(crate) mod sensor;
mod simple;
mod sql;

/// An operator's parameters and what it does with them. The struct's doc comment is the operator's documentation.
pub(crate) trait Operator: DeserializeOwned + JsonSchema {
    /// The key under which a task names it.
    const NAME: &'static str;
    /// The parameter that the short form `operator: text` fills.
    const MAIN: Option<&'static str> = None;
    /// Parameters in which templates are rendered.
    const TEMPLATED: &'static [&'static str] = &[];
    /// Of those, the ones that hold code: what an expression puts there must be harmless or quoted.
    const CODE: &'static [&'static str] = &[];
    /// Parameters that name a file of the bundle.
    const FILES: &'static [&'static str] = &[];
    /// Parameters that name a connection.
    const CONNECTIONS: &'static [&'static str] = &[];
    /// Who carries it out.
    const RUNNER: Runner = Runner::Executor;

    /// Runs it, or plans the program that does.
    fn step(self, job: &Job<'_>) -> Result<Step, Failure>;
}

/// One operator of the table.
#[derive(Debug)]
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) main: Option<&'static str>,
    pub(crate) templated: &'static [&'static str],
    pub(crate) code: &'static [&'static str],
    pub(crate) files: &'static [&'static str],
    pub(crate) connections: &'static [&'static str],
    pub(crate) runner: Runner,
    pub(crate) schema: fn() -> Value,
    pub(crate) step: Run,
}

/// Runs an operator with its rendered parameters.
type Run = fn(&Builtin, Map<String, Value>, &Job<'_>) -> Result<Step, Failure>;

const fn entry<P: Operator>() -> Builtin {
    Builtin {
        name: P::NAME,
        main: P::MAIN,
        templated: P::TEMPLATED,
        code: P::CODE,
        files: P::FILES,
        connections: P::CONNECTIONS,
        runner: P::RUNNER,
        schema: schema::of::<P>,
        step: |operator, args, job| match P::RUNNER {
            Runner::Executor => read::<P>(operator, args)?.step(job),
            Runner::Engine => Err(Failure::EngineOperator(operator.name.to_owned())),
        },
    }
}

/// All of them, sorted by name.
pub(crate) static ALL: &[Builtin] = &[
    entry::<human::Approval>(),
    entry::<bash::Bash>(),
    entry::<flow::Branch>(),
    entry::<email::Email>(),
    entry::<flow::Empty>(),
    entry::<simple::Fail>(),
    entry::<file::FileSensor>(),
    entry::<http::Http>(),
    entry::<http::HttpSensor>(),
    entry::<human::HumanInput>(),
    entry::<python::Python>(),
    entry::<rhai::Rhai>(),
    entry::<flow::ShortCircuit>(),
    entry::<simple::Sleep>(),
    entry::<sql::Sql>(),
    entry::<sql::SqlCheck>(),
    entry::<sql::SqlSensor>(),
    entry::<flow::TaskSensor>(),
    entry::<flow::TimeSensor>(),
    entry::<flow::TriggerDag>(),
];

/// Those whose attempt becomes a program, sorted by name. What is reached from here is small.
static PROGRAMS: &[Builtin] = &[entry::<bash::Bash>(), entry::<python::Python>()];

/// The operator of this name, if its attempt becomes a program.
pub(crate) fn find_program(name: &str) -> Option<&'static Builtin> {
    PROGRAMS.iter().find(|operator| operator.name == name)
}

/// The operator of this name.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    ALL.binary_search_by(|operator| operator.name.cmp(name)).ok().map(|at| &ALL[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_that_become_programs_are_operators() {
        assert!(PROGRAMS.iter().all(|program| find(program.name).is_some()));
        assert!(find_program("http").is_none());
    }

    #[test]
    fn the_table_is_sorted_and_consistent() {
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name));
        for operator in ALL {
            let schema = (operator.schema)();
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let named = operator
                .main
                .iter()
                .chain(operator.templated)
                .chain(operator.files)
                .chain(operator.connections);
            for field in named {
                assert!(properties.contains_key(*field), "{}: `{field}` isn't a parameter", operator.name);
            }
            assert!(operator.code.iter().all(|f| operator.templated.contains(f)), "{}", operator.name);
            assert_eq!(schema["additionalProperties"], false, "{}", operator.name);
            assert!(
                schema["description"].as_str().is_some_and(|d| d.len() > 20),
                "{} has no doc",
                operator.name
            );
            for (name, property) in &properties {
                assert!(property["description"].is_string(), "{}.{name} has no doc", operator.name);
            }
            assert_eq!(find(operator.name).map(|o| o.name), Some(operator.name));
        }
    }
}
