//! The committed inputs: small seeds, and regressions that once broke something.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::Target;

/// The folders whose files a target begins with, relative to this package.
pub fn folders(target: Target) -> Vec<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = [package.join("seeds").join(target.name()), package.join("regressions").join(target.name())];
    // YAML has a corpus already: the broken files with their diagnostics, and the examples.
    let shared = match target {
        Target::Yaml => vec![package.join("../tests/broken"), package.join("../examples")],
        Target::Rhai => vec![package.join("../examples/reports")],
        Target::Cron | Target::Template => Vec::new(),
    };
    own.into_iter().chain(shared).collect()
}

/// The files of the folders by name, in a stable order. Of shared folders only those of the target's kind.
pub fn files(target: Target) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in folders(target).into_iter().filter(|folder| folder.is_dir()) {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let kind = path.extension().unwrap_or_default();
            let other = (kind == "snap" || kind == "json" || kind == "md")
                || (target == Target::Yaml && kind != "yaml");
            if path.is_file() && !other {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What the files hold.
pub fn read(target: Target) -> io::Result<Vec<Vec<u8>>> {
    files(target)?.into_iter().map(std::fs::read).collect()
}
