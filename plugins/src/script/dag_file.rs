//! A Rhai DAG file to validated DAGs: what `dags::compile::compile` is for YAML.

use dags::{
    catalog::Catalog,
    compile::{Compiled, FileLookup, compile_tree},
    diagnostic::{Diagnostic, Lines, Severity, Source, code},
    ids::TenantId,
    tree::{ByteRange, Node},
};

use super::{
    error::{Error, Fault},
    modules::Modules,
    pool::ScriptPool,
};

impl ScriptPool {
    /// Compiles a Rhai DAG file; a fault of the script is a diagnostic, an error is ours.
    ///
    /// A file that makes no DAG at all is a module for others: no DAGs and no diagnostics.
    pub async fn compile_dags(
        &self,
        tenant: TenantId,
        source: &Source,
        modules: &Modules,
        catalog: &Catalog,
        files: &(dyn FileLookup + Sync),
    ) -> Result<Compiled, Error> {
        match self.compile::<Node>(tenant, &source.path, &source.text, modules).await {
            Ok(compiled) if compiled.trees.is_empty() => {
                Ok(Compiled { dags: Vec::new(), diagnostics: Vec::new() })
            }
            Ok(compiled) => Ok(compile_tree(source, &compiled.trees, catalog, files)),
            Err(Error::Fault(fault)) => {
                Ok(Compiled { dags: Vec::new(), diagnostics: vec![diagnostic(source, &fault)] })
            }
            Err(error) => Err(error),
        }
    }
}

fn diagnostic(source: &Source, fault: &Fault) -> Diagnostic {
    let inside = fault.file.as_deref().filter(|file| *file != source.path);
    let message = match (inside, fault.line) {
        (Some(file), Some(line)) => format!("{} ({file}:{line})", fault.message),
        (Some(file), None) => format!("{} ({file})", fault.message),
        (None, _) => fault.message.clone(),
    };
    let label = match (&fault.limit, inside) {
        (Some(limit), _) => format!("the limit `{limit}` is met here"),
        (None, Some(_)) => "imported here".to_owned(),
        (None, None) => "here".to_owned(),
    };
    let labels =
        fault.span.map(|(start, end)| Lines::new(&source.text).label(ByteRange::new(start, end), label));
    let code = if fault.limit.is_some() { code::SCRIPT_LIMIT } else { code::SCRIPT_INVALID };
    Diagnostic {
        code,
        severity: Severity::Error,
        message,
        file: source.path.clone(),
        labels: labels.into_iter().collect(),
        help: fault.hint.clone(),
    }
}
