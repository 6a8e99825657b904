//! Services that one has signed in to, by name, in a file that nobody else may read.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// A service and who one is there.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    /// Its address.
    pub(super) url: String,
    /// Who signed in.
    pub(super) user: String,
    /// The token.
    pub(super) token: String,
    /// The tenant, if it isn't the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    /// Who signed the service's certificate, if this machine doesn't know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_cert: Option<PathBuf>,
}

/// The file's content.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The one that is used if nobody names another.
    #[serde(default)]
    pub(super) current: Option<String>,
    /// All of them.
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Reads the file. None there is an empty one; one that others may read is refused.
    pub(super) fn load(path: &Path) -> Result<Self, Error> {
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::path("read", path)(error)),
        };
        let mode = file.metadata().map_err(Error::path("read", path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::usage(
                format!("{} holds tokens and has mode {mode:o}: others may read it", path.display()),
                format!("run `chmod 600 {}`", path.display()),
            ));
        }
        let text = io::read_to_string(&mut file).map_err(Error::path("read", path))?;
        serde_json::from_str(&text).map_err(|why| {
            Error::usage(
                format!("{} can't be read: {why}", path.display()),
                "correct it, or delete it and sign in again",
            )
        })
    }

    /// Writes the file: a new one in its place, never readable by others.
    pub(super) fn save(&self, path: &Path) -> Result<(), Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(Error::path("make", folder))?;
        }
        let text = serde_json::to_string_pretty(self).expect("invariant: names are text");
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        write().map_err(Error::path("write", path))
    }

    /// The context of that name, or the current one.
    pub(super) fn choose(&self, name: Option<&str>) -> Result<Option<&Context>, Error> {
        name.or(self.current.as_deref()).map(|name| self.named(name)).transpose()
    }

    /// The context of that name.
    pub(super) fn named(&self, name: &str) -> Result<&Context, Error> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
            Error::usage(
                format!("there is no context `{name}` (known: {known})"),
                "sign in with `updraft login URL --context NAME`",
            )
        })
    }
}
