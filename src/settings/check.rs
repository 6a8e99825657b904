//! What is in force, for people: every key with its value and where that comes from.

use std::fmt::Write as _;

use serde_json::Value;

use crate::settings::{
    keys::{self, Key, NAME},
    load::{Loaded, Origin, shown},
};

/// All settings as a file of settings, with the origin of each as a comment. What has neither value nor default is a comment
/// as a whole.
pub(crate) fn effective(loaded: &Loaded) -> String {
    let mut text = String::new();
    for section in keys::sections() {
        match section.path.split_once(&format!(".{NAME}")) {
            None => write_section(&mut text, loaded, &section.path, &section.keys),
            Some((prefix, _)) => {
                let mut names: Vec<&str> = loaded
                    .values
                    .keys()
                    .filter_map(|key| key.strip_prefix(prefix)?.strip_prefix('.')?.rsplit_once('.'))
                    .map(|(name, _)| name)
                    .collect();
                names.dedup();
                for name in names {
                    write_section(&mut text, loaded, &format!("{prefix}.{name}"), &section.keys);
                }
            }
        }
    }
    text
}

fn write_section(text: &mut String, loaded: &Loaded, path: &str, keys: &[Key]) {
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "[{path}]");
    for key in keys {
        let name = key.path.rsplit('.').next().unwrap_or(&key.path);
        let (value, origin): (Option<&Value>, &Origin) = match loaded.values.get(&format!("{path}.{name}")) {
            Some((value, origin)) => (Some(value), origin),
            None => (key.default.as_ref(), &Origin::Default),
        };
        let _ = match value {
            Some(value) => writeln!(text, "{name} = {}  # {origin}", shown(key.shown, value)),
            None => writeln!(text, "# {name} isn't set"),
        };
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::load::{Given, Origin, Raw, Sources, load};

    #[test]
    fn the_effective_settings_are_a_file_of_settings_without_secrets() {
        let given = |key: &str, value: &str| Given {
            key: key.to_owned(),
            value: Raw::Text(value.to_owned()),
            origin: Origin::Flag("--set"),
        };
        let flags = [
            given("database.url", "postgres://u:hunter2@h/d"),
            given("executors.fast.kind", "noop"),
            given("executors.fast.slots", "5"),
        ];
        let environment = vec![("UPDRAFT__API__OWNER_WAIT_S".to_owned(), "3".to_owned())];
        let loaded = load(Sources { file: None, environment, flags: flags.into() }).unwrap();
        let text = super::effective(&loaded);
        for line in [
            "[database]\nurl = \"postgres://u@h/d\"  # --set\n",
            "\n[executors.fast]\n",
            "kind = \"noop\"  # --set\n",
            "slots = 5  # --set\n",
            "owner_wait_s = 3  # UPDRAFT__API__OWNER_WAIT_S\n",
            "lease_ms = 3000  # default\n",
            "# drain_s isn't set\n",
        ] {
            assert!(text.contains(line), "{line}\nisn't in\n{text}");
        }
        assert!(!text.contains("hunter2"));
        toml::from_str::<crate::settings::Settings>(&text).unwrap();
    }
}
