//! `updraft init`: what it makes works at once.

use std::fs;

use crate::program::{run, updraft};

fn templates() -> [(&'static str, &'static [&'static str]); 3] {
    [
        ("etl", &["dags/etl.yaml", "--date", "2026-01-05", "--conn", "warehouse=sqlite::temporary:"]),
        ("ml-training", &["dags/training.yaml"]),
        ("fan-out", &["dags/fan_out.yaml"]),
    ]
}

#[test]
fn the_tests_of_each_template_pass_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (template, arguments) in templates() {
        let project = folder.path().join(template);
        let path = project.to_str().unwrap();
        let said = run(["init", path, "--template", template]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert!(said.out.contains("updraft test dags"), "{}", said.out);
        let here = |arguments: &[&str]| {
            let output = updraft().current_dir(&project).args(arguments).output().unwrap();
            crate::program::Said::from(output)
        };
        let said = here(&["validate", "dags"]);
        assert!(said.code == Some(0) && said.out.contains("0 errors, 0 warnings"), "{template}: {said:?}");
        let said = here(&["test", "dags"]);
        assert!(said.code == Some(0) && said.out.contains(", 0 failed in "), "{template}: {said:?}");
        let said = here(&[&["test"], arguments].concat());
        assert_eq!(said.code, Some(0), "{template}: {said:?}");
        // What it says about itself is what was made.
        let readme = fs::read_to_string(project.join("README.md")).unwrap();
        assert!(readme.contains(&format!("updraft test {}", arguments.join(" "))), "{readme}");

        let before = fs::read_to_string(project.join(arguments[0])).unwrap();
        fs::write(project.join(arguments[0]), "mine").unwrap();
        let said = run(["init", path, "--template", template]);
        assert!(said.code == Some(2) && said.err.contains("already"), "{said:?}");
        assert_eq!(fs::read_to_string(project.join(arguments[0])).unwrap(), "mine");
        assert!(before.starts_with("# yaml-language-server"), "{before}");
    }
}
