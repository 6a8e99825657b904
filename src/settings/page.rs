//! The reference page of the settings, made from their types.

use std::fmt::Write as _;

use serde_json::Value;

use crate::settings::{
    keys::{self, Key, NAME, Shown, Takes},
    load::takes,
};

const HEAD: &str = "\
# Configuration

Every setting of the service. This page is made by the program: `updraft config reference > docs/configuration.md`.

A value comes from the first of these that has it:

1. a flag, `--set scheduler.lease_ms=5000`; some keys have a flag of their own, such as `--data`;
2. the environment, `UPDRAFT__SCHEDULER__LEASE_MS=5000`: the key in capitals, with `__` for each dot;
3. the file, TOML, named by `--config FILE` or `UPDRAFT_CONFIG`; only its owner may be allowed to change it;
4. the default.

A list in a flag or a variable is written with commas. A key that doesn't exist or a value that doesn't fit stops the start,
and the message names the key, the value, where it comes from and what is allowed. `updraft config check` prints what is in
force and where each value comes from; what is secret isn't shown. Give secrets by the file or the environment: flags can
be seen by every user of the machine.

```toml
[node]
data = \"/var/lib/updraft\"

[database]
url = \"postgres://updraft:password@db.example/updraft\"

[executors.local]
slots = 32
```
";

/// The page, in Markdown.
pub(crate) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for section in keys::sections() {
        let _ = write!(page, "\n## `[{}]`\n\n{}\n\n", section.path, section.doc);
        if section.path.ends_with(NAME) {
            let _ = writeln!(
                page,
                "`{NAME}` is a name of your choice; in the environment it is in small letters.\n"
            );
        }
        page.push_str("| key | takes | default | |\n| --- | --- | --- | --- |\n");
        for key in section.keys {
            row(&mut page, &key);
        }
    }
    page
}

fn row(page: &mut String, key: &Key) {
    let name = key.path.rsplit('.').next().unwrap_or(&key.path);
    let default = match &key.default {
        None => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    };
    let mut doc = key.doc.clone();
    if let Takes::Word(words) = &key.takes {
        for (word, meaning) in words {
            let _ = write!(doc, " `{word}`: {meaning}");
        }
    }
    if key.shown != Shown::Whole {
        doc.push_str(" Secret.");
    }
    let _ = writeln!(page, "| `{name}` | {} | {default} | {} |", takes(&key.takes), doc.replace('|', "\\|"));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == super::markdown(),
            "docs/configuration.md is out of date: run `updraft config reference > docs/configuration.md`"
        );
    }
}
