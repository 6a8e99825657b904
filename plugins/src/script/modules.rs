//! The files that a script may import: its own folder's, by plain name, never through a link.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

/// The longest module name in bytes.
const NAME_BYTES_MAX: usize = 100;
/// The largest module in bytes: the limit of a Rhai file.
const MODULE_BYTES_MAX: u64 = 1 << 20;

/// Where `import` finds modules.
#[derive(Debug, Clone, Default)]
pub enum Modules {
    /// Nowhere.
    #[default]
    None,
    /// `<name>.rhai` in this folder.
    Folder(PathBuf),
    /// Texts by name.
    Texts(Arc<BTreeMap<String, String>>),
}

impl Modules {
    /// The text of a module, or why there is none.
    pub(super) async fn read(&self, name: &str) -> Result<String, String> {
        // The child checks names as well; it isn't trusted to.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err("it isn't a plain name".to_owned());
        }
        let file = format!("{name}.rhai");
        match self {
            Self::None => Err("there are no modules here".to_owned()),
            Self::Texts(texts) => texts.get(name).cloned().ok_or_else(|| missing(&file)),
            Self::Folder(folder) => {
                let path = folder.join(&file);
                let read = tokio::task::spawn_blocking(move || read(&path, &file));
                read.await.unwrap_or_else(|_| Err("reading was cut off".to_owned()))
            }
        }
    }
}

fn missing(file: &str) -> String {
    format!("there is no file `{file}` in the script's folder")
}

fn read(path: &Path, file: &str) -> Result<String, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => missing(file),
        rustix::io::Errno::LOOP => format!("`{file}` is a link"),
        other => format!("`{file}` can't be read: {other}"),
    })?;
    let opened = std::fs::File::from(opened);
    let is_file = opened.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err(format!("`{file}` isn't a regular file"));
    }
    let mut text = String::new();
    opened
        .take(MODULE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|e| format!("`{file}` can't be read: {e}"))?;
    if text.len() as u64 > MODULE_BYTES_MAX {
        return Err(format!("`{file}` is larger than {MODULE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_regular_files_of_the_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(folder.path().join("good.rhai"), "fn f() { 1 }").unwrap();
        std::fs::write(folder.path().join("large.rhai"), vec![b' '; (1 << 20) + 1]).unwrap();
        std::fs::create_dir(folder.path().join("folder.rhai")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link.rhai")).unwrap();
        let modules = Modules::Folder(folder.path().to_owned());
        assert_eq!(modules.read("good").await.as_deref(), Ok("fn f() { 1 }"));
        for (name, reason) in [
            ("none", "no file"),
            ("link", "is a link"),
            ("folder", "isn't a regular file"),
            ("large", "larger"),
            ("../good", "plain name"),
            ("", "plain name"),
        ] {
            let error = modules.read(name).await.unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }
}
