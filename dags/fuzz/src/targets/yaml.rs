//! YAML DAG files.

use dags::{
    catalog::Catalog,
    compile::{NoFiles, compile},
    diagnostic::Source,
};

use super::dag;

/// The YAML front end.
pub struct Yaml {
    catalog: Catalog,
}

impl Default for Yaml {
    fn default() -> Self {
        Self { catalog: dag::catalog() }
    }
}

impl Yaml {
    pub(super) fn take(&self, text: String) {
        let source = Source::new("fuzz.yaml", text);
        let compiled = compile(&source, &self.catalog, &NoFiles);
        assert!(
            !compiled.dags.is_empty() || compiled.has_errors(),
            "a file without a DAG has an error that says why"
        );
        dag::check(&source, &compiled);
    }
}
