//! Operators that users bring, without compiling anything: files in the folder `plugins` beside the DAGs.
//!
//! `plugins/NAME.yaml` describes the operator NAME: its documentation and parameters, and one of three ways to carry it
//! out: another operator with filled-in parameters (`uses`), a program that speaks JSON (`program`), or a Rhai script
//! (`rhai`). The description is data: validation, the console and the schema of the language read it and run nothing.
//! What it runs, it runs inside of an attempt, from the bundle that the run is pinned to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use dags::{
    catalog::{Catalog, Operator},
    diagnostic::{Diagnostic, Severity, Source, code},
    model::Runner,
    yaml,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{builtin, catalog_with};

mod program;
mod run;

pub(crate) use run::{exit_codes, step};

/// The folder of the plugins, beside the DAGs.
pub const FOLDER: &str = "plugins";
/// How many plugins a folder may have.
const PLUGINS_MAX: usize = 500;
/// The longest description, in bytes.
const DESCRIPTION_BYTES_MAX: u64 = 256 * 1024;
/// The largest program or script, in bytes.
const PROGRAM_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// What a plugin's file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// The name of the operator; the file has the same.
    operator: String,
    /// What it does; the first line is shown in lists.
    doc: String,
    /// The parameters: name to JSON Schema.
    #[serde(default)]
    params: BTreeMap<String, Value>,
    /// Parameters that must be given.
    #[serde(default)]
    required: BTreeSet<String>,
    /// The parameter that the short form fills.
    main: Option<String>,
    /// Parameters that may hold expressions; all if absent.
    templated: Option<BTreeSet<String>>,
    /// Parameters that name a connection.
    #[serde(default)]
    connections: BTreeSet<String>,
    /// Parameters that name a file of the bundle.
    #[serde(default)]
    files: BTreeSet<String>,
    /// The operator to run ...
    uses: Option<String>,
    /// ... with these parameters; expressions in them see `args`.
    #[serde(default)]
    with: Map<String, Value>,
    /// A program in the folder, to run with a request on its standard input.
    program: Option<String>,
    /// A script in the folder, whose value says what to do.
    rhai: Option<String>,
}

/// How it is carried out.
#[derive(Debug)]
pub(crate) enum Way<'d> {
    /// By another operator.
    Uses(&'static builtin::Builtin, &'d Map<String, Value>),
    /// By a program.
    Program(&'d str),
    /// By a script.
    Rhai(&'d str),
}

/// The catalog of the built-in operators and those of the folder of DAGs, and what is wrong with the others.
///
/// A plugin that can't be used is left out: the DAGs that don't name it work.
pub fn catalog(dags: &Path) -> (Catalog, Vec<Diagnostic>) {
    let (mut operators, mut diagnostics) = (Vec::new(), Vec::new());
    let paths = match paths(&dags.join(FOLDER)) {
        Ok(paths) => paths,
        Err(why) => {
            diagnostics.push(diagnostic(FOLDER, why));
            Vec::new()
        }
    };
    for path in paths {
        let shown = format!("{FOLDER}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        match load(&path, &shown) {
            Ok(operator) => operators.push(operator),
            Err(mut found) => diagnostics.append(&mut found),
        }
    }
    // One by one, since a schema that can't be used is found only here.
    let mut good: Vec<Operator> = Vec::new();
    for operator in operators {
        match catalog_with(good.iter().cloned().chain([operator.clone()])) {
            Ok(_) => good.push(operator),
            Err(why) => {
                diagnostics.push(diagnostic(&format!("{FOLDER}/{}.yaml", operator.name), why.to_string()));
            }
        }
    }
    let catalog = catalog_with(good).expect("invariant: every operator was tried");
    (catalog, diagnostics)
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("the folder of the plugins can't be read: {e}")),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| format!("the folder of the plugins can't be read: {e}"))?.path();
        if path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.len() > PLUGINS_MAX {
        return Err(format!("there are {} plugins; at most {PLUGINS_MAX} are allowed", paths.len()));
    }
    Ok(paths)
}

fn load(path: &Path, shown: &str) -> Result<Operator, Vec<Diagnostic>> {
    let one = |why: String| vec![diagnostic(shown, why)];
    let text = read(path, DESCRIPTION_BYTES_MAX).map_err(one)?;
    let text = String::from_utf8(text).map_err(|_| one("it isn't UTF-8 text".to_owned()))?;
    let description = Description::parse(&text, shown)?;
    let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
    if path.extension().is_some_and(|ext| ext != "yaml") || name != description.operator {
        let why = format!("the plugin of operator `{0}` must be named `{0}.yaml`", description.operator);
        return Err(one(why));
    }
    let mut digest = Sha256::new();
    digest.update(text.as_bytes());
    if let Way::Program(file) | Way::Rhai(file) = description.way().map_err(one)? {
        let folder = path.parent().unwrap_or(path);
        let full = crate::operator::inside(folder, file).map_err(|e| one(e.to_string()))?;
        // The text's length goes first, so that nothing can move from one into the other.
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(read(&full, PROGRAM_BYTES_MAX).map_err(one)?);
    }
    let hex = digest.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    Ok(description.operator(hex))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let unreadable = |e: std::io::Error| {
        format!("`{}` can't be read: {e}", path.file_name().unwrap_or_default().to_string_lossy())
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(unreadable)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(format!(
            "`{}` is larger than {most} bytes",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
    }
    Ok(bytes)
}

fn diagnostic(file: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        code: code::PLUGIN_INVALID,
        severity: Severity::Error,
        message: message.into(),
        file: file.to_owned(),
        labels: Vec::new(),
        help: None,
    }
}

impl Description {
    /// Reads a plugin's file.
    pub(crate) fn parse(text: &str, shown: &str) -> Result<Self, Vec<Diagnostic>> {
        let (mut documents, diagnostics) = yaml::parse(&Source::new(shown, text));
        let one = |why: String| vec![diagnostic(shown, why)];
        if diagnostics.iter().any(|d| d.severity == Severity::Error) {
            return Err(diagnostics);
        }
        let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
            return Err(one("it must hold exactly one document".to_owned()));
        };
        let description: Self =
            serde_json::from_value(document.tree.to_json()).map_err(|e| one(e.to_string()))?;
        description.check().map_err(one)?;
        Ok(description)
    }

    fn check(&self) -> Result<(), String> {
        if builtin::find(&self.operator).is_some() {
            return Err(format!("an operator named `{}` is built in", self.operator));
        }
        let way = self.way()?;
        if let Way::Uses(inner, with) = way {
            let schema = (inner.schema)();
            let known = schema.get("properties").and_then(Value::as_object);
            if let Some(name) = with.keys().find(|name| !known.is_some_and(|k| k.contains_key(*name))) {
                return Err(format!("`with`: `{}` has no parameter `{name}`", inner.name));
            }
            let mut required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            if let Some(name) = required.find(|name| !name.as_str().is_some_and(|n| with.contains_key(n))) {
                return Err(format!("`with` lacks the parameter {name} of `{}`", inner.name));
            }
        } else if !self.with.is_empty() {
            return Err("`with` belongs to `uses`".to_owned());
        }
        let named = self.required.iter().chain(&self.connections).chain(self.templated.iter().flatten());
        match named.chain(&self.main).find(|name| !self.params.contains_key(*name)) {
            Some(name) => Err(format!("`{name}` isn't one of its `params`")),
            None => Ok(()),
        }
    }

    /// How it is carried out.
    pub(crate) fn way(&self) -> Result<Way<'_>, String> {
        match (&self.uses, &self.program, &self.rhai) {
            (Some(uses), None, None) => {
                let inner = builtin::find(uses).filter(|inner| inner.runner == Runner::Executor);
                let inner = inner.ok_or_else(|| {
                    format!("`uses: {uses}` isn't a built-in operator that runs as an attempt")
                })?;
                Ok(Way::Uses(inner, &self.with))
            }
            (None, Some(program), None) => Ok(Way::Program(program)),
            (None, None, Some(script)) => Ok(Way::Rhai(script)),
            _ => Err("it needs exactly one of `uses`, `program` or `rhai`".to_owned()),
        }
    }

    /// The parameters that are rendered.
    pub(crate) fn templated(&self) -> BTreeSet<String> {
        let all = || self.params.keys().filter(|name| !self.files.contains(*name)).cloned().collect();
        self.templated.clone().unwrap_or_else(all)
    }

    /// The connections that the task names, given its parameters.
    pub(crate) fn connections(&self, args: &Map<String, Value>) -> Vec<String> {
        let mut values: Vec<&Value> = self.connections.iter().filter_map(|name| args.get(name)).collect();
        if let Ok(Way::Uses(inner, with)) = self.way() {
            values.extend(inner.connections.iter().filter_map(|name| with.get(*name)));
        }
        values.into_iter().flat_map(crate::catalog::names).collect()
    }

    /// The parameters of the operator that it uses.
    pub(crate) fn with(&self) -> &Map<String, Value> {
        &self.with
    }

    fn operator(self, digest: String) -> Operator {
        Operator {
            doc: self.doc.lines().next().unwrap_or_default().to_owned(),
            schema: json!({
                "type": "object",
                "description": self.doc,
                "properties": self.params,
                "required": self.required,
                "additionalProperties": false,
            }),
            templated: self.templated(),
            name: self.operator,
            main: self.main,
            code: BTreeSet::new(),
            files: self.files,
            runner: Runner::Executor,
            plugin: Some(digest),
        }
    }
}
