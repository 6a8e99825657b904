//! The folders of DAGs that tests are about: compiled and copied once, used by all of their tests.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dags::{
    catalog::Catalog,
    diagnostic::{Diagnostic, Severity, Source},
    ids::BundleId,
    model::Dag,
};
use plugins::script::ScriptPool;
use scheduler::{bundle, objects::Objects};

use crate::{Error, load::Folder, terminal::count};

/// A folder of DAGs.
pub(super) struct Site {
    folder: Folder,
    compiled: BTreeMap<String, Result<Vec<Dag>, String>>,
    /// The operators of its DAGs.
    pub(super) catalog: Catalog,
    /// Who evaluates expressions; none if the program isn't there.
    pub(super) scripts: Option<ScriptPool>,
    /// Its bundle.
    pub(super) bundle: BundleId,
    /// Where the bundle is.
    pub(super) stored: PathBuf,
}

/// All of them.
pub(super) struct Sites {
    place: PathBuf,
    known: BTreeMap<PathBuf, usize>,
    sites: Vec<Site>,
}

impl Sites {
    pub(super) fn new(place: &Path) -> Self {
        Self { place: place.to_owned(), known: BTreeMap::new(), sites: Vec::new() }
    }

    pub(super) fn get(&self, site: usize) -> &Site {
        &self.sites[site]
    }

    /// The site of a folder.
    pub(super) fn at(
        &mut self,
        root: &Path,
        problems: &mut Vec<(Diagnostic, Source)>,
    ) -> Result<usize, Error> {
        if let Some(site) = self.known.get(root) {
            return Ok(*site);
        }
        let (mut folder, scan) = Folder::open(root)?;
        problems.append(&mut folder.problems);
        let place = self.place.join(format!("o{}", self.sites.len()));
        let objects = Objects::open(&place).map_err(Error::path("make a folder in", &place))?;
        let stored = bundle::store(&scan, &objects)?;
        let scripts = folder.scripts();
        let (catalog, bundle) = (folder.catalog.clone(), scan.digest);
        self.sites.push(Site { folder, compiled: BTreeMap::new(), catalog, scripts, bundle, stored });
        self.known.insert(root.to_owned(), self.sites.len() - 1);
        Ok(self.sites.len() - 1)
    }

    /// The DAGs of a file. What is wrong with it is reported once.
    pub(super) async fn compile(
        &mut self,
        site: usize,
        file: &str,
        shown: &str,
        problems: &mut Vec<(Diagnostic, Source)>,
    ) -> Result<Vec<Dag>, String> {
        let site = &mut self.sites[site];
        if let Some(known) = site.compiled.get(file) {
            return known.clone();
        }
        let compiled = site.folder.compile_as(file, shown).await;
        let errors =
            compiled.compiled.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
        let source = compiled.source;
        problems.extend(compiled.compiled.diagnostics.into_iter().map(|found| (found, source.clone())));
        let dags = if errors > 0 {
            Err(format!("{shown} can't be used: it has {}", count(errors, "error")))
        } else {
            Ok(compiled.compiled.dags)
        };
        site.compiled.insert(file.to_owned(), dags.clone());
        dags
    }
}
