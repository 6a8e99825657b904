//! Finding the program.

use std::path::{Path, PathBuf};

use super::error::Error;

/// The program's file name.
pub const PROGRAM: &str = "updraft-script";

/// The configured path, else the program beside the current executable.
pub fn locate(configured: Option<&Path>) -> Result<PathBuf, Error> {
    let path = match configured {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().map_err(|e| Error::Start(PROGRAM.into(), e))?.with_file_name(PROGRAM),
    };
    if path.is_file() { Ok(path) } else { Err(Error::Missing(path)) }
}
