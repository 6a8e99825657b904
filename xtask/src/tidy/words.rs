//! Words that belong to one machine, one registry or one author, and so not into the repository.

use crate::tidy::Finding;

/// What may not appear in any text file, and why. Letters are compared without regard to case.
const BANNED: &[(&str, &str)] = &[
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/wo", "rk/shared"), "a path of one machine"),
    (concat!("/wo", "rk/main"), "a path of one machine"),
    (concat!("/tm", "p/wt"), "a path of one machine"),
    (concat!("index.cra", "tes.io"), "a registry's host"),
    (concat!("static.cra", "tes.io"), "a registry's host"),
    (concat!("registry.npm", "js.org"), "a registry's host"),
    (concat!("pypi", ".org"), "a registry's host"),
    (concat!("files.python", "hosted.org"), "a registry's host"),
    (concat!("repo.ma", "ven.apache.org"), "a registry's host"),
    (concat!("repo1.", "maven.org"), "a registry's host"),
    (concat!("proxy.", "golang.org"), "a registry's host"),
    (concat!("deb.de", "bian.org"), "a registry's host"),
    (concat!("co-auth", "ored-by"), "names an author; git knows them"),
    (concat!("clau", "de"), "names a tool that an author used"),
    (concat!("anthr", "opic"), "names a tool that an author used"),
    (concat!("chat", "gpt"), "names a tool that an author used"),
];

/// Files that package managers write and that name their registry.
const LOCK_FILES: &[&str] = &["Cargo.lock", "package-lock.json", "pnpm-lock.yaml", "uv.lock"];

pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    if path.rsplit('/').next().is_some_and(|name| LOCK_FILES.contains(&name)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.to_ascii_lowercase();
        for (word, why) in BANNED {
            if line.match_indices(word).any(|(at, _)| stands_alone(&line, at, word)) {
                findings.push(Finding::new(path, number + 1, "words", format!("{word:?}: {why}")));
            }
        }
    }
    findings
}

/// A path counts only from its beginning: a folder of the same name further down is somebody else's.
fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    !word.starts_with('/')
        || !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_banned_word_is_found_in_any_case() {
        for (word, _) in BANNED {
            let text = format!("first\nsee {} here\n", word.to_ascii_uppercase());
            let findings = check("README.md", &text);
            assert_eq!(findings.len(), 1, "{word}");
            assert_eq!(findings[0].line, 2);
        }
    }

    #[test]
    fn a_folder_of_the_same_name_further_down_is_fine() {
        assert_eq!(check("a.rs", concat!("let path = \"{data}/ro", "ot/logs\";")), []);
        assert_eq!(check("a.rs", concat!("let path = \"crates/ro", "ot/logs\";")), []);
        assert_eq!(check("a.rs", concat!("let path = \"/ro", "ot/logs\";")).len(), 1);
    }

    #[test]
    fn lock_files_name_their_registry() {
        let text = concat!("\"resolved\": \"https://registry.npm", "js.org/x\"");
        assert_eq!(check("api/console/package-lock.json", text), []);
        assert_eq!(check("api/console/package.json", text).len(), 1);
    }
}
