//! A DAG file to document trees.

use rhai::{Dynamic, Engine, Scope};

use crate::{
    dag_api::{DagHandle, Shared},
    draft::Draft,
    fault::{self, Fault},
    language::Language,
    node::Node,
    source::Source,
};

/// Runs the file and collects the DAGs that it hands over, in that order.
pub(crate) fn compile(
    engine: &Engine,
    language: &Language,
    shared: &Shared,
    path: &str,
    text: &str,
) -> Result<Vec<Node>, Fault> {
    *shared.lock() = Draft::new(Source::new(path, text));
    let trees = evaluate(engine, language, shared, path, text);
    *shared.lock() = Draft::default();
    trees
}

fn evaluate(
    engine: &Engine,
    language: &Language,
    shared: &Shared,
    path: &str,
    text: &str,
) -> Result<Vec<Node>, Fault> {
    let mut ast =
        engine.compile(text).map_err(|error| fault::parsing(&error, &shared.lock().source, path))?;
    ast.set_source(path);
    let result: Dynamic = engine
        .eval_ast_with_scope(&mut Scope::new(), &ast)
        .map_err(|error| fault::evaluation(*error, &shared.lock().source, language, path))?;
    let draft = shared.lock();
    let returned = handed_over(&result, path)?;
    if let Some(dag) = draft.forgotten(&returned).first() {
        let mut fault = Fault::new(format!("the DAG `{}` is made but not handed over", dag.name))
            .hint("end the script with the DAG, or with a list of all of them: `[a, b]`");
        fault.file = Some(path.to_owned());
        fault.span = Some(dag.span());
        fault.line = Some(1 + text[..dag.span().0.min(text.len())].matches('\n').count());
        return Err(fault);
    }
    Ok(returned.into_iter().map(|dag| draft.tree(dag)).collect())
}

/// The DAGs that a script ends with; none if it ends with nothing, as a module of functions does.
fn handed_over(result: &Dynamic, path: &str) -> Result<Vec<DagHandle>, Fault> {
    if result.is_unit() {
        return Ok(Vec::new());
    }
    if let Some(dag) = result.read_lock::<DagHandle>() {
        return Ok(vec![*dag]);
    }
    let wrong = |found: &str| {
        let mut fault = Fault::new(format!("the script ends with {found}, not with a DAG"))
            .hint("end it with the DAG (`d`) or with a list of DAGs (`[a, b]`), without a semicolon");
        fault.file = Some(path.to_owned());
        fault
    };
    let Ok(list) = result.as_array_ref() else {
        return Err(wrong(result.type_name()));
    };
    let mut dags = Vec::with_capacity(list.len());
    for item in list.iter() {
        let dag =
            item.read_lock::<DagHandle>().map(|dag| *dag).ok_or_else(|| wrong("a list of other things"))?;
        if !dags.contains(&dag) {
            dags.push(dag);
        }
    }
    Ok(dags)
}
