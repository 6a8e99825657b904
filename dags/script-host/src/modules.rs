//! `import "x" as x`: modules of the script's own folder, asked for over the pipe.
//!
//! The process itself opens no file. The name can't be a path: the caller gets letters, digits, `_` and `-` only.

use std::sync::{Arc, Mutex, PoisonError};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use crate::{
    fault::{self, Fault},
    host::Fetch,
    source::Source,
};

/// The longest module name in bytes.
const NAME_BYTES_MAX: usize = 100;

/// State of the imports of one request.
#[derive(Default)]
pub(crate) struct Imports {
    /// Names of the modules that are being evaluated right now, outermost first.
    open: Vec<String>,
    loaded: Vec<(String, Shared<Module>)>,
    count: usize,
}

/// Resolves imports through the caller.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) fetch: Arc<Mutex<Fetch>>,
    pub(crate) imports: Arc<Mutex<Imports>>,
    pub(crate) modules_max: usize,
}

impl Resolver {
    /// Forgets everything of the previous request.
    pub(crate) fn reset(&self) {
        *lock(&self.imports) = Imports::default();
    }

    fn load(&self, engine: &Engine, name: &str, at: Position) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let text = (lock(&self.fetch))(name).map_err(|fault| fault.raise(at))?;
        let file = format!("{name}.rhai");
        let mut ast = engine.compile(&text).map_err(|error| {
            let mut fault = fault::parsing(&error, &Source::new(&file, &text), &file);
            fault.span = None;
            fault.raise(at)
        })?;
        ast.set_source(file);
        Module::eval_ast_as_new(Scope::new(), &ast, engine).map(Shared::new)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a name can only mean a file of the same folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        _: Option<&str>,
        path: &str,
        at: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        if !is_plain(path) {
            return Err(Fault::new(format!("`{path}` isn't the name of a module"))
                .hint("modules are files of the same folder: `import \"regions\" as regions` reads `regions.rhai`")
                .raise(at));
        }
        {
            let mut imports = lock(&self.imports);
            if let Some((_, module)) = imports.loaded.iter().find(|(name, _)| name == path) {
                return Ok(module.clone());
            }
            if imports.open.iter().any(|name| name == path) {
                let ring = imports.open.join("` imports `");
                return Err(
                    Fault::new(format!("modules import each other: `{ring}` imports `{path}`")).raise(at)
                );
            }
            if imports.count >= self.modules_max {
                return Err(Box::new(EvalAltResult::ErrorTooManyModules(at)));
            }
            imports.count += 1;
            imports.open.push(path.to_owned());
        }
        let loaded = self.load(engine, path, at);
        let mut imports = lock(&self.imports);
        imports.open.pop();
        if let Ok(module) = &loaded {
            imports.loaded.push((path.to_owned(), module.clone()));
        }
        loaded.map_err(|inner| Box::new(EvalAltResult::ErrorInModule(format!("{path}.rhai"), inner, at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_modules() {
        assert!(is_plain("regions") && is_plain("my-module_2"));
        for name in ["", "../x", "/etc/passwd", "a/b", "a.rhai", ".", "a\0", "ä", &"a".repeat(101)] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
