//! `updraft init`: a folder with everything to begin with. Its own tests pass at once.

use std::path::{Path, PathBuf};

use crate::{
    Error,
    terminal::{Tone, paint},
};

/// What to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Load, check and report.
    Etl,
    /// Train over settings, and publish what is good enough.
    MlTraining,
    /// One task for each item of a list.
    FanOut,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The folder, as it was named.
    pub folder: PathBuf,
    /// The files in it, by relative path.
    pub files: Vec<String>,
    dag: &'static str,
    run: &'static str,
}

struct Content {
    dag: &'static str,
    /// What a test run needs beside the file's name.
    run: &'static str,
    files: &'static [(&'static str, &'static str)],
}

impl Template {
    /// Every template.
    pub const ALL: [Self; 3] = [Self::Etl, Self::MlTraining, Self::FanOut];

    fn content(self) -> Content {
        match self {
            Self::Etl => Content {
                dag: "etl",
                run: " --date 2026-01-05 --conn warehouse=sqlite::temporary:",
                files: &[
                    ("dags/etl.yaml", include_str!("../templates/etl/etl.yaml")),
                    ("dags/load.sql", include_str!("../templates/etl/load.sql")),
                    ("dags/tests/etl.test.yaml", include_str!("../templates/etl/etl.test.yaml")),
                    ("connections.example.sh", include_str!("../templates/etl/connections.sh")),
                ],
            },
            Self::MlTraining => Content {
                dag: "training",
                run: "",
                files: &[
                    ("dags/training.yaml", include_str!("../templates/ml-training/training.yaml")),
                    (
                        "dags/tests/training.test.yaml",
                        include_str!("../templates/ml-training/training.test.yaml"),
                    ),
                    ("connections.example.sh", include_str!("../templates/ml-training/connections.sh")),
                ],
            },
            Self::FanOut => Content {
                dag: "fan_out",
                run: "",
                files: &[
                    ("dags/fan_out.yaml", include_str!("../templates/fan-out/fan_out.yaml")),
                    ("dags/tests/fan_out.test.yaml", include_str!("../templates/fan-out/fan_out.test.yaml")),
                    ("connections.example.sh", include_str!("../templates/fan-out/connections.sh")),
                ],
            },
        }
    }
}

/// What every template has.
const COMMON: &[(&str, &str)] = &[
    ("dags/plugins/announce.yaml", include_str!("../templates/common/announce.yaml")),
    (".github/workflows/dags.yml", include_str!("../templates/common/dags.yml")),
    (".gitignore", include_str!("../templates/common/gitignore")),
];
const README: &str = include_str!("../templates/common/README.md");

/// Makes the folder. Nothing that is there is overwritten: then nothing is written at all.
pub fn init(folder: &Path, template: Template) -> Result<Made, Error> {
    let content = template.content();
    std::fs::create_dir_all(folder).map_err(Error::path("make", folder))?;
    let full = folder.canonicalize().map_err(Error::path("find", folder))?;
    let name = full.file_name().map_or_else(|| "DAGs".to_owned(), |name| name.to_string_lossy().into_owned());
    let readme = README.replace("{name}", &name).replace("{dag}", content.dag).replace("{run}", content.run);
    let texts = COMMON.iter().chain(content.files).map(|(path, text)| (*path, (*text).to_owned()));
    let mut files: Vec<(&str, String)> = texts.collect();
    files.push(("README.md", readme));
    files.push(("dags/tests/test.schema.json", schema(&dags::schema::of_test())));
    // Made when the plugin is there; until then it holds its place.
    files.push(("dags/dag.schema.json", String::new()));
    files.sort();
    let there: Vec<&str> =
        files.iter().map(|(path, _)| *path).filter(|path| folder.join(path).exists()).collect();
    if !there.is_empty() {
        return Err(Error::usage(
            format!("{} has {} already", folder.display(), dags::suggest::list(there.iter().copied(), "and")),
            "name another folder; nothing was written",
        ));
    }
    for (path, text) in &files {
        write(&folder.join(path), text)?;
    }
    let (catalog, _) = plugins::user::catalog(&full.join("dags"));
    write(&folder.join("dags/dag.schema.json"), &schema(&dags::schema::of_dag(&catalog)))?;
    let files = files.into_iter().map(|(path, _)| path.to_owned()).collect();
    Ok(Made { folder: folder.to_owned(), files, dag: content.dag, run: content.run })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(Error::path("make", parent))?;
    }
    std::fs::write(path, text).map_err(Error::path("write", path))
}

fn schema(schema: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(schema).expect("invariant: a JSON value is JSON");
    text.push('\n');
    text
}

impl Made {
    /// What was made and what to do next.
    pub fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        for file in &self.files {
            text += &format!("{} {}\n", paint("made", Tone::Dim, colour), self.folder.join(file).display());
        }
        text += "\nNext:\n";
        if self.folder != Path::new(".") {
            text += &format!("  cd {}\n", self.folder.display());
        }
        text += &format!("  updraft test dags\n  updraft test dags/{}.yaml{}\n", self.dag, self.run);
        text
    }
}
