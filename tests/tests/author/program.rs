//! Running the binary that was built beside this test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// `updraft`, to be given arguments. It knows no setting of this environment.
pub(crate) fn updraft() -> Command {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("updraft");
    assert!(program.is_file(), "{} isn't built: run `cargo build` first", program.display());
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null()).env_remove("RUST_LOG").env_remove("NO_COLOR");
    command.env_remove("UPDRAFT_CONFIG");
    command
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `updraft` with these arguments.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    updraft().args(arguments).output().unwrap().into()
}

/// A folder with one file of DAGs.
pub(crate) struct Written {
    pub(crate) folder: TempDir,
    pub(crate) file: PathBuf,
}

/// Writes a DAG file of that name into a folder of its own.
pub(crate) fn write(name: &str, text: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    Written { folder, file }
}

impl Written {
    /// `updraft test` of the file with more arguments.
    pub(crate) fn test(&self, arguments: &[&str]) -> Said {
        let output = updraft().arg("test").arg(&self.file).args(arguments).output().unwrap();
        output.into()
    }
}

/// Processes whose command line contains this.
pub(crate) fn processes(needle: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(needle)
    })
    .collect()
}
